//! What changes in Envoy's own configuration: the filter, a cluster, and routes with settings of their own.

use super::find::{FILTER, PerRoute};
use crate::import::model::Place;
use crate::import::write::{Lines, scalar};

/// The changes of one configuration.
pub(super) struct Changes {
    /// Whether the filter is off except where a route switches it on.
    pub(super) is_disabled: bool,
    pub(super) clears_route_cache: bool,
    pub(super) routes: Vec<RouteChange>,
    /// What else names the filter.
    pub(super) mentions: Vec<Place>,
}

/// A change of one `typed_per_filter_config`.
pub(super) struct RouteChange {
    place: Place,
    what: String,
    /// The rule that it names. `None` if it only switches the filter on.
    rule: Option<String>,
}

impl RouteChange {
    pub(super) fn of(route: &PerRoute<'_>, rule: Option<String>) -> Self {
        let name = route.owner.text_of("name");
        let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
        Self {
            place: route.message.place(),
            what: format!("{}{name}", route.kind),
            rule,
        }
    }
}

impl Changes {
    /// The changes as YAML: `http_filter`, `cluster` and `routes`.
    pub(super) fn yaml(&self) -> String {
        let mut out = Lines::default();
        out.comment(
            0,
            "What changes in Envoy's configuration. docs/guides/migrate-from-envoy-jwt-authn.md says in which \
             order to do it.",
        );
        out.comment(
            0,
            &format!("In place of the filter `{FILTER}`, with `normalize_path: true` around it:"),
        );
        out.line(0, "http_filter:");
        out.line(1, "name: envoy.filters.http.ext_authz");
        if self.is_disabled {
            out.line(1, "disabled: true");
        }
        out.line(1, "typed_config:");
        for line in [
            "\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version: V3",
            "grpc_service:",
            "  envoy_grpc: { cluster_name: claimgate, authority: claimgate }",
            "  timeout: 0.5s",
            "failure_mode_allow: false",
            "status_on_error: { code: ServiceUnavailable }",
            "validate_mutations: true",
            "encode_raw_headers: true",
        ] {
            out.line(2, line);
        }
        out.line(
            2,
            &format!("clear_route_cache: {}", self.clears_route_cache),
        );
        out.comment(0, "A new cluster, with the address of claimgate:");
        out.line(0, "cluster:");
        for line in [
            "name: claimgate",
            "type: STRICT_DNS",
            "connect_timeout: 0.25s",
            "typed_extension_protocol_options:",
            "  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:",
            "    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "    explicit_http_config:",
            "      http2_protocol_options:",
            "        connection_keepalive: { interval: 30s, timeout: 5s }",
            "health_checks:",
            "  - timeout: 1s",
            "    interval: 2s",
            "    no_traffic_interval: 2s",
            "    unhealthy_threshold: 1",
            "    healthy_threshold: 1",
            "    grpc_health_check: { service_name: envoy.service.auth.v3.Authorization, authority: claimgate }",
            "common_lb_config: { healthy_panic_threshold: { value: 1 } }",
            "load_assignment:",
            "  cluster_name: claimgate",
            "  endpoints:",
            "    - lb_endpoints:",
            "        - endpoint:",
            "            address:",
            "              socket_address: { address: claimgate, port_value: 9001 }",
        ] {
            out.line(1, line);
        }
        self.write_routes(&mut out);
        for place in &self.mentions {
            out.comment(
                0,
                &format!(
                    "This looks at what `{FILTER}` writes, and must look at the metadata of \
                     `envoy.filters.http.ext_authz` instead: {} ({}:{})",
                    place.path, place.file, place.line
                ),
            );
        }
        out.text
    }

    fn write_routes(&self, out: &mut Lines) {
        if self.routes.is_empty() {
            return;
        }
        out.comment(0, "In each of these places, in place of what is there:");
        out.line(0, "routes:");
        for RouteChange { place, what, rule } in &self.routes {
            out.comment(1, &format!("The {what}, {}:{}", place.file, place.line));
            out.line(1, &format!("- at: {}", scalar(&place.path)));
            out.line(2, "typed_per_filter_config:");
            out.line(3, "envoy.filters.http.ext_authz:");
            match rule {
                Some(rule) => {
                    let per_route = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
                    out.line(4, &format!("\"@type\": {per_route}"));
                    let named = format!("{{ claimgate.rule: {} }}", scalar(rule));
                    out.line(
                        4,
                        &format!("check_settings: {{ context_extensions: {named} }}"),
                    );
                }
                None => {
                    let config = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
                    out.line(4, &format!("\"@type\": {config}"));
                    out.line(4, "config: {}");
                }
            }
        }
    }
}
