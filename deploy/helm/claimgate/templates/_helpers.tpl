{{- define "claimgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release, with the chart's name in it. Leaves room for suffixes. */}}
{{- define "claimgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "claimgate.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "claimgate.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "claimgate.selector" -}}
app.kubernetes.io/name: {{ include "claimgate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "claimgate.labels" -}}
{{ include "claimgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "claimgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "claimgate.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "claimgate.configMap" -}}
{{- default (include "claimgate.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "claimgate.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate. Empty without TLS. */}}
{{- define "claimgate.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}
{{- default (printf "%s-tls" (include "claimgate.fullname" .)) .Values.tls.secret }}
{{- else }}
{{- .Values.tls.secret }}
{{- end }}
{{- end }}

{{/* The configuration (YAML): `config`, and what other values add where it says nothing. */}}
{{- define "claimgate.config" -}}
{{- $config := deepCopy (default dict .Values.config) }}
{{- if include "claimgate.tlsSecret" . }}
{{- $tls := dict "certificate" "/etc/claimgate-tls/tls.crt" "key" "/etc/claimgate-tls/tls.key" }}
{{- if .Values.tls.mutual }}
{{- $_ := set $tls "client_ca" "/etc/claimgate-tls/ca.crt" }}
{{- with .Values.tls.allowedClients }}
{{- $_ := set $tls "allowed_clients" . }}
{{- end }}
{{- end }}
{{- $config = merge $config (dict "server" (dict "tls" $tls)) }}
{{- end }}
{{- if .Values.adminToken.secret }}
{{- $config = merge $config (dict "admin" (dict "token_file" (printf "/etc/claimgate-admin/%s" .Values.adminToken.key))) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Refuses values that render, and then do not work. */}}
{{- define "claimgate.check" -}}
{{- $config := include "claimgate.config" . | fromYaml }}
{{- if not .Values.existingConfigMap }}
{{- if not (regexMatch "\"(\\[::\\]|0\\.0\\.0\\.0):9001\"" (toJson (dig "server" "listen" "" $config))) }}
{{- fail "config.server.listen: the chart's Services and probes use port 9001 of the pod: '[::]:9001' or '0.0.0.0:9001'" }}
{{- end }}
{{- $drain := toString (dig "server" "drain" "10s" $config) }}
{{- $unit := get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[a-z]+$" $drain) | default 0 }}
{{- if gt (add 8 (mul $unit (regexFind "^[0-9]+" $drain | int))) (int .Values.terminationGracePeriodSeconds) }}
{{- fail (printf "terminationGracePeriodSeconds: must be at least 8 s more than config.server.drain (%s), or the kubelet ends claimgate before its checks have ended" $drain) }}
{{- end }}
{{- if not (regexMatch "^(\\[::\\]|0\\.0\\.0\\.0):9002$" (toString (dig "admin" "listen" "" $config))) }}
{{- fail "config.admin.listen: the kubelet's probes need '[::]:9002' or '0.0.0.0:9002'" }}
{{- end }}
{{- if dig "admin" "tls" "client_ca" "" $config }}
{{- fail "config.admin.tls.client_ca: the kubelet's probes have no client certificate; use adminToken instead" }}
{{- end }}
{{- end }}
{{- if and .Values.tls.mutual (not (include "claimgate.tlsSecret" .)) }}
{{- fail "tls.mutual: set tls.secret or tls.certManager.enabled" }}
{{- end }}
{{- if and .Values.tls.allowedClients (not .Values.tls.mutual) }}
{{- fail "tls.allowedClients: set tls.mutual, or no client needs a certificate" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) }}
{{- fail "tls.certManager.issuerRef.name: name an issuer whose authority your Envoys trust" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas: more than maxReplicas" }}
{{- end }}
{{- range list "app.kubernetes.io/name" "app.kubernetes.io/instance" }}
{{- if hasKey (default dict $.Values.podLabels) . }}
{{- fail (printf "podLabels: the Services find the pods by `%s`; use nameOverride to change it" .) }}
{{- end }}
{{- end }}
{{- if and .Values.ca.secret .Values.ca.configMap }}
{{- fail "ca: set secret or configMap, not both" }}
{{- end }}
{{- end }}

{{/* "true" if checks come over TLS. An existing ConfigMap cannot be read: there, `tls` says so. */}}
{{- define "claimgate.isTls" -}}
{{- if include "claimgate.tlsSecret" . }}true{{ else if and (not .Values.existingConfigMap) (dig "server" "tls" nil (default dict .Values.config)) }}true{{ end }}
{{- end }}

{{/* A hash of what only a restart changes, so that a change of it starts new pods, and annotations for Prometheus. */}}
{{- define "claimgate.podAnnotations" -}}
{{- $own := dict }}
{{- if not .Values.existingConfigMap }}
{{- $_ := set $own "claimgate/restart-for" (pick (include "claimgate.config" . | fromYaml) "server" "admin" "telemetry" | toJson | sha256sum) }}
{{- end }}
{{- if and .Values.metrics.annotations (not .Values.metrics.serviceMonitor.enabled) }}
{{- $own = merge $own (dict "prometheus.io/scrape" "true" "prometheus.io/port" "9002" "prometheus.io/path" "/metrics") }}
{{- if eq (include "claimgate.adminScheme" .) "HTTPS" }}
{{- $_ := set $own "prometheus.io/scheme" "https" }}
{{- end }}
{{- end }}
{{- with merge (deepCopy (default dict .Values.podAnnotations)) $own }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* "true" if `helm test` has a pod. With mutual TLS, it needs a certificate, and with TLS the authority's. */}}
{{- define "claimgate.hasTest" -}}
{{- $knowsAuthority := or (include "claimgate.tlsSecret" .) (not (include "claimgate.isTls" .)) }}
{{- if and .Values.test.enabled $knowsAuthority (or (not .Values.tls.mutual) .Values.test.clientSecret) }}true{{ end }}
{{- end }}

{{/* How the admin port speaks. An existing ConfigMap cannot be read: there, `probeScheme` says so. */}}
{{- define "claimgate.adminScheme" -}}
{{- if .Values.probeScheme }}
{{- .Values.probeScheme }}
{{- else if and (not .Values.existingConfigMap) (dig "admin" "tls" nil (default dict .Values.config)) }}HTTPS
{{- else }}HTTP
{{- end }}
{{- end }}

{{/* A probe by HTTP on the admin port. */}}
{{- define "claimgate.httpGet" -}}
path: {{ .path }}
port: admin
{{- if eq (include "claimgate.adminScheme" .root) "HTTPS" }}
scheme: HTTPS
{{- end }}
{{- end }}
