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
app.kubernetes.io/name: {{ include "claimgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "claimgate.labels" -}}
{{ include "claimgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
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
{{- $config := deepCopy .Values.config }}
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
{{- if not (regexMatch ":9001\"" (toJson (dig "server" "listen" "" $config))) }}
{{- fail "config.server.listen: the chart's Services and probes use port 9001, as in '[::]:9001'" }}
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
{{- if and .Values.ca.secret .Values.ca.configMap }}
{{- fail "ca: set secret or configMap, not both" }}
{{- end }}
{{- end }}

{{/* "true" if checks come over TLS. An existing ConfigMap cannot be read: there, `tls` says so. */}}
{{- define "claimgate.isTls" -}}
{{- if include "claimgate.tlsSecret" . }}true{{ else if and (not .Values.existingConfigMap) (dig "server" "tls" nil .Values.config) }}true{{ end }}
{{- end }}

{{/* A hash of what only a restart changes, so that a change of it starts new pods, and annotations for Prometheus. */}}
{{- define "claimgate.podAnnotations" -}}
{{- if not .Values.existingConfigMap }}
claimgate/restart-for: {{ pick (include "claimgate.config" . | fromYaml) "server" "admin" "telemetry" | toJson | sha256sum }}
{{- end }}
{{- if and .Values.metrics.annotations (not .Values.metrics.serviceMonitor.enabled) }}
prometheus.io/scrape: "true"
prometheus.io/port: "9002"
prometheus.io/path: /metrics
{{- end }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* "true" if `helm test` has a pod. With mutual TLS, it needs a certificate. */}}
{{- define "claimgate.hasTest" -}}
{{- if and .Values.test.enabled (or (not .Values.tls.mutual) .Values.test.clientSecret) }}true{{ end }}
{{- end }}

{{/* A probe by HTTP on the admin port. */}}
{{- define "claimgate.httpGet" -}}
path: {{ .path }}
port: admin
{{- if and (not .root.Values.existingConfigMap) (dig "admin" "tls" nil .root.Values.config) }}
scheme: HTTPS
{{- end }}
{{- end }}
