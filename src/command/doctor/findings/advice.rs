//! What to change, by the name of the setting.

/// A possible cause, and its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Change {
    /// The setting to look at.
    pub setting: &'static str,
    pub advice: &'static str,
}

macro_rules! changes {
    ($($name:ident: $setting:literal, $advice:literal;)*) => {
        $(pub(super) const $name: Change = Change { setting: $setting, advice: $advice };)*
    };
}

changes! {
    FILTER: "http_filters",
        "add `envoy.filters.http.ext_authz` to the listener's HTTP filters, before the router";
    DISABLED: "typed_per_filter_config",
        "remove `disabled: true` for `envoy.filters.http.ext_authz` from the route and its virtual host \
         (Contour: `authPolicy.disabled`); to open a path, use a rule with `access: public`; and if a filter before \
         `ext_authz` has Envoy choose another route, turn the check on for each route";
    FILTER_ENABLED: "filter_enabled",
        "remove it from the `ext_authz` filter, or set it to 100 %";
    FAILURE_MODE: "failure_mode_allow",
        "set it to `false` (Istio, Envoy Gateway, Contour: `failOpen`)";
    FAILURE_MODE_AND_ADDRESS: "failure_mode_allow",
        "set it to `false` (Istio, Envoy Gateway, Contour: `failOpen`), then find why claimgate cannot be reached: \
         address, port and `http2_protocol_options` of its cluster";
    SHADOW: "shadow_mode",
        "remove it from the `ext_authz` filter; to observe without refusing, use claimgate's `enforce: false`";
    ISTIO_SELECTOR: "AuthorizationPolicy",
        "under Istio: check that `selector` or `targetRefs` matches the workload, that there are `rules` (`[{}]` is \
         everything), and that no `notPaths` or `from` leaves this request out";
    GATEWAY_POLICY: "SecurityPolicy",
        "under Envoy Gateway: a policy of the HTTPRoute replaces that of the Gateway; set `mergeType: \
         StrategicMerge` and no `extAuth`, or repeat the Gateway's `extAuth`; and a policy whose status is not \
         `Accepted` leaves its route open";
    CONTOUR_AUTHORIZATION: "authorization",
        "under Contour: without `extensionRef.name`, it adds no check; beside `globalExtAuth`, its `extensionRef` asks \
         another service";
    CONTEXT: "claimgate.rule",
        "if the route names the rule, it overrides each `match`: look at `context_extensions` (Contour: \
         `authPolicy.context`, also in an HTTPProxy that the host includes; Envoy Gateway: `contextExtensions`)";
    CONTOUR_TLS: "globalExtAuth",
        "under Contour: with TLS, it covers only an HTTPProxy; put one in place of an Ingress with `tls`, or of a route \
         on an HTTPS listener";
    LATE_ROUTE: "routes",
        "if a filter behind `ext_authz` changes the path or the host, Envoy may find the route only then, and does not \
         ask before: add a last route `prefix: \"/\"` to each virtual host, and a virtual host `*`, with the check on \
         for each route";
    PLAIN_PORT: "permitInsecure",
        "under Contour: remove it from the route, or use `globalExtAuth`; otherwise guard the plain listener as well, or \
         let it redirect (`require_tls: ALL`)";
    CACHE: "cache",
        "remove it (agentgateway: `extAuthz.cache`): an answer is for one request. With a key that leaves out headers, \
         a later request brings claim headers in spellings that the answer does not remove; with the token alone as the \
         key, an allow for one path is an allow for all";
    OPEN_CONNECTIONS: "--drain-time-s",
        "connections that were open before the filter was added continue without checks: restart proxies in front of \
         this gateway, or start Envoy with `--drain-time-s 5`";

    ADDRESS: "load_assignment",
        "check that claimgate runs, and the address and port in its cluster (Istio: `service` and `port` of the \
         provider; Envoy Gateway: `backendRefs`)";
    ADMIN_PORT: "load_assignment",
        "claimgate's cluster has the port of `admin.listen`, which answers no checks: set the port of \
         `server.listen` (9001 by default)";
    HTTP2: "http2_protocol_options",
        "add it to claimgate's cluster, in `typed_extension_protocol_options` (Istio: name the Service's port `grpc` \
         or set its `appProtocol`; Contour: `protocol: h2c`)";
    TIMEOUT: "timeout",
        "set `timeout: 0.5s` in the filter's `grpc_service` (Istio: the provider's `timeout`, by default 600 s; Envoy \
         Gateway: `timeout: 500ms`, by default 10 s; agentgateway: `requestTimeout`, by default none)";
    CLUSTER_TLS: "transport_socket",
        "use TLS in claimgate's cluster if and only if claimgate has `server.tls`: see docs/operations.md#tls";
    AUTHORITY: "authority",
        "set `authority: claimgate` in `envoy_grpc`, because the cluster's name may not be a valid `:authority`";
    ISTIO_EGRESS: "Sidecar",
        "under Istio: let the Sidecar's `egress` include claimgate's namespace, and export claimgate's Service to it";
    INSTANCE: "outlier_detection",
        "if claimgate has several instances, look for one that fails, and let Envoy eject it";

    ISTIO_PROVIDER: "extensionProviders",
        "under Istio: the policy's `provider` must be in `meshConfig.extensionProviders`, in the same case, and its \
         `service` must be a full name (`claimgate.claimgate.svc.cluster.local`); istiod's log names those that exist";
    ISTIO_CUSTOM: "AuthorizationPolicy",
        "under Istio: remove `istio.io/dry-run` from the CUSTOM policy, let only one CUSTOM provider apply to the \
         workload, and remove ALLOW policies that rely on `requestPrincipals`";
    RBAC: "envoy.filters.http.rbac",
        "without Istio: an RBAC filter before `ext_authz` refuses the request";

    MUTATION: "decoder_header_mutation_rules",
        "remove it: an allow-list would have to name every spelling of every header that claimgate sets or removes";
    GATEWAY_BACKEND: "backendRefs",
        "under Envoy Gateway: the backend of `extAuth` must exist, have ready endpoints and, in another namespace, be \
         allowed by a ReferenceGrant";

    FILTER_ORDER: "http_filters",
        "put `envoy.filters.http.ext_authz` before the filter that answered, or remove that filter; only a login \
         (`oauth2`) belongs before it";

    LOGIN_ORDER: "http_filters",
        "put `envoy.filters.http.oauth2` before `envoy.filters.http.ext_authz` (Envoy Gateway: `filterOrder` of the \
         EnvoyProxy)";
    LOGIN_FILTER: "http_filters",
        "add `envoy.filters.http.oauth2`, or look at what turns it off for this route";
    LOGIN_REFUSES: "deny_redirect_matcher",
        "let it leave out requests that accept HTML, and add the host to `allowed_redirect_domains`";
    PASS_THROUGH: "pass_through_matcher",
        "let it match `authorization` with the prefix `Bearer ` (Envoy Gateway: a route without `oidc` for these requests)";

    ALLOWED_HEADERS: "allowed_headers",
        "remove it from the `ext_authz` filter (Envoy Gateway: `headersToExtAuth`), because claimgate needs all headers";
    AUTHORIZATION_ALLOWED: "allowed_headers",
        "remove it from the `ext_authz` filter (Envoy Gateway: `headersToExtAuth`), with `disallowed_headers`";
    REMOVED_BEFORE: "request_headers_to_remove",
        "find what removes `authorization` before `ext_authz`: a proxy in front, or a filter such as \
         `header_mutation`, `lua`, or `jwt_authn` without `forward: true`";
    TOKEN_FROM: "token_from",
        "if claimgate reads tokens from another place on purpose, this is as it should be";
    PROXY_ID: "x-request-id",
        "if a proxy in front replaces `x-request-id` and `traceparent`, this is as it should be";
    ONE_AUTHORIZATION: "authorization",
        "find what merges or drops repeated headers before `ext_authz`: the API must not see the other one";

    CLAIM_HEADERS: "upstream.claim_headers",
        "list this header in claimgate's configuration, or name the headers that it lists with --claim-header";
    MUTATION_IGNORED: "decoder_header_mutation_rules",
        "remove them: removals of headers are mutations, too";
    UNDERSCORES: "headers_with_underscores_action",
        "set it to `REJECT_REQUEST` in `common_http_protocol_options` (Envoy Gateway: `withUnderscoresAction`; \
         Istio: by an EnvoyFilter)";

    NORMALIZE: "normalize_path",
        "set it to `true` in the HTTP connection manager (Istio: `meshConfig.pathNormalization.normalization: BASE` \
         or stricter)";
    MERGE_SLASHES: "merge_slashes",
        "set it to `true` in the HTTP connection manager (Istio: `normalization: MERGE_SLASHES`)";
    PATHS: "paths",
        "let a rule of claimgate use paths, and leave out `paths: as_is`: then such paths are refused";

    SCHEME: "--through",
        "use the URL that the gateway redirects to";
    ROUTE: "--through",
        "use a URL that has a route, or add the route";
    PROTECTED_PATH: "--through",
        "use the URL of a path that requires a token";
    REAL_GATEWAY: "--through",
        "use the URL of Envoy itself, not of a proxy in front of it";
    ENFORCE: "enforce",
        "remove `enforce: false` from claimgate's configuration when you have seen enough";
    ADMIN: "--admin",
        "give the `admin.listen` of the instance that this gateway asks, or leave it out";
    WHY: "claimgate why",
        "ask the instance with the request id, or judge the token with `claimgate check`";
    SIZES: "max_request_headers_kb",
        "look for limits on headers between Envoy and claimgate, and remove `with_request_body`";
}
