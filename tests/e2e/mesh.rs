//! Everything around a request, connected. claimgate decides beside Envoy or inside it.

use std::net::SocketAddr;
use std::path::Path;

use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};

use crate::setup::{Claimgate, Provider, configure_for, envoy_binary, eventually, http};

/// Envoy's connection manager in a configuration.
pub const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

/// The filter that asks claimgate.
const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// Where claimgate decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a service, which Envoy asks by `ext_authz`.
    Service,
    /// Inside Envoy, as its module.
    Module,
}

/// Declares tests that have the same expectations of the service and of the module. Each is a function
/// that takes the [`Place`].
macro_rules! in_both_places {
    ($($(#[$flavor:meta])? $name:ident,)*) => {
        $(
            mod $name {
                use crate::mesh::{Place, in_both_places};

                in_both_places!(@test service Service $name $(#[$flavor])?);
                in_both_places!(@test module Module $name $(#[$flavor])?);
            }
        )*
    };
    (@test $test:ident $place:ident $name:ident) => {
        in_both_places!(@test $test $place $name #[tokio::test]);
    };
    (@test $test:ident $place:ident $name:ident #[$flavor:meta]) => {
        #[$flavor]
        #[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
        async fn $test() {
            super::$name(Place::$place).await;
        }
    };
}
pub(crate) use in_both_places;

impl Place {
    /// Envoy's configuration for this place. The given one is for the service. `file` is claimgate's own.
    pub fn configuration(self, configuration: &str, file: &Path) -> String {
        match self {
            Self::Service => configuration.to_owned(),
            Self::Module => inside(configuration, &of_file(file)),
        }
    }

    /// The possible values of `encode_raw_headers`. The module always gets headers as they are.
    pub fn encode_raw_headers(self) -> &'static [bool] {
        match self {
            Self::Service => &[true, false],
            Self::Module => &[true],
        }
    }
}

/// The configuration of a filter whose rules are in a file.
pub fn of_file(file: &Path) -> String {
    format!("file:{}", file.display())
}

/// Envoy's configuration with the module in place of `ext_authz`.
pub fn inside(configuration: &str, filter_config: &str) -> String {
    let mut whole: Value = serde_saphyr::from_str(configuration).unwrap();
    let clusters = whole.pointer_mut("/static_resources/clusters").unwrap();
    assert_eq!(
        clusters.as_array_mut().unwrap().remove(0)["name"],
        "claimgate"
    );
    let manager = whole.pointer_mut(MANAGER).unwrap();
    let filters = manager["http_filters"].as_array_mut().unwrap();
    let mut filters = filters
        .iter_mut()
        .filter(|filter| filter["name"] == EXT_AUTHZ);
    *filters.next().unwrap() = filter(filter_config);
    assert_eq!(filters.next(), None);
    let hosts = manager["route_config"]["virtual_hosts"].as_array_mut();
    for host in hosts.unwrap() {
        name_rules_inside(host);
        for route in host["routes"].as_array_mut().unwrap() {
            name_rules_inside(route);
        }
    }
    // So that metrics have the same names as in the service.
    let strip = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
    whole["layered_runtime"] =
        json!({"layers": [{"name": "static", "static_layer": {strip: true}}]});
    whole.to_string()
}

/// The module as a filter.
pub fn filter(filter_config: &str) -> Value {
    json!({
        "name": "claimgate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "claimgate_envoy"},
            "filter_name": "claimgate",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": filter_config,
            },
        },
    })
}

/// What a route tells the module. `config` is a `google.protobuf` message.
pub fn per_route(config: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
        "dynamic_module_config": {"name": "claimgate_envoy"},
        "filter_config": config,
    })
}

/// Tells the module what a route or a virtual host tells `ext_authz`.
fn name_rules_inside(place: &mut Value) {
    let Some(per_filter) = place.get_mut("typed_per_filter_config") else {
        return;
    };
    let per_filter = per_filter.as_object_mut().unwrap();
    let Some(asked) = per_filter.remove(EXT_AUTHZ) else {
        return;
    };
    let extensions = &asked["check_settings"]["context_extensions"];
    assert!(extensions.is_object(), "{asked}");
    let texts = json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": extensions});
    per_filter.insert("claimgate".to_owned(), per_route(&texts));
}

/// Envoy's metrics, among which are those of the module.
pub async fn metrics(admin: SocketAddr) -> String {
    http(admin, "GET /stats/prometheus", &[]).await.body
}

/// An access log in this file, with a line of JSON for each request.
pub fn access_log(file: &Path, format: &Value) -> Value {
    json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": file,
            "log_format": {"json_format": format},
        },
    }])
}

/// The sum of the series of this name with these labels. `None` without such a series.
pub fn series(metrics: &str, name: &str, labels: &str) -> Option<u64> {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
    });
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    values.reduce(|sum, value| sum + value)
}

/// All components, connected.
pub struct Mesh {
    pub provider: Provider,
    /// The service. Where the module decides, nobody asks it.
    pub claimgate: Claimgate,
    pub envoy: Envoy,
    pub upstream: Option<Upstream>,
    pub directory: tempfile::TempDir,
    place: Place,
    /// Envoy's configuration.
    configuration: String,
    wiring: Wiring,
}

impl Mesh {
    /// Envoy in front of an upstream that echoes requests; `more` goes into the provider's
    /// configuration.
    pub async fn start(place: Place, configuration: &str, more: &str) -> Self {
        let upstream = Upstream::start().await.unwrap();
        let address = upstream.address();
        Self::wire(place, configuration, (more, ""), Some(upstream), |_| {
            address
        })
        .await
    }

    /// The same, with further sections of claimgate's configuration, such as rules.
    pub async fn with_sections(place: Place, configuration: &str, sections: &str) -> Self {
        let upstream = Upstream::start().await.unwrap();
        let address = upstream.address();
        let more = ("clock_skew: 0s", sections);
        Self::wire(place, configuration, more, Some(upstream), |_| address).await
    }

    /// Envoy in front of a gRPC service: claimgate's own.
    pub async fn in_front_of_claimgate(place: Place, configuration: &str, sections: &str) -> Self {
        let more = ("clock_skew: 0s", sections);
        Self::wire(place, configuration, more, None, |claimgate| claimgate).await
    }

    /// The same, with tokens of an issuer that mints any claims.
    pub async fn of_issuer(
        place: Place,
        configuration: &str,
        issuer: &str,
        sections: &str,
    ) -> Self {
        let configured = configure_for(issuer, "clock_skew: 0s", sections);
        Self::configured(place, configuration, configured).await
    }

    /// The same, in front of another upstream.
    pub async fn in_front_of(
        place: Place,
        configuration: &str,
        issuer: &str,
        sections: &str,
        upstream: SocketAddr,
    ) -> Self {
        let provider = Provider::start(0).await;
        let configured = configure_for(issuer, "clock_skew: 0s", sections);
        let protected = |_| upstream;
        Self::run(place, configuration, provider, configured, None, protected).await
    }

    /// The same, with this configuration of claimgate.
    pub async fn configured(place: Place, configuration: &str, configured: String) -> Self {
        let upstream = Upstream::start().await.unwrap();
        let address = upstream.address();
        let provider = Provider::start(0).await;
        let (upstream, protected) = (Some(upstream), |_| address);
        Self::run(
            place,
            configuration,
            provider,
            configured,
            upstream,
            protected,
        )
        .await
    }

    async fn wire(
        place: Place,
        configuration: &str,
        (more, sections): (&str, &str),
        upstream: Option<Upstream>,
        protected: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let provider = Provider::start(0).await;
        let configured = configure_for(&provider.issuer, more, sections);
        Self::run(
            place,
            configuration,
            provider,
            configured,
            upstream,
            protected,
        )
        .await
    }

    async fn run(
        place: Place,
        configuration: &str,
        provider: Provider,
        configured: String,
        upstream: Option<Upstream>,
        protected: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, configured).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        let wiring = Wiring {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claimgate: claimgate.check.into(),
            upstream: protected(claimgate.check),
        };
        let configuration = place.configuration(configuration, &file);
        let envoy = Envoy::start(&envoy_binary(), &configuration, &wiring)
            .await
            .unwrap();
        Self {
            provider,
            claimgate,
            envoy,
            upstream,
            directory,
            place,
            configuration,
            wiring,
        }
    }

    /// The sum of claimgate's series of this name with these labels. `None` without such a series.
    pub async fn metric(&self, name: &str, labels: &str) -> Option<u64> {
        let all = match self.place {
            Place::Service => self.claimgate.metrics().await,
            Place::Module => metrics(self.envoy.admin()).await,
        };
        series(&all, name, labels)
    }

    /// Waits until what decides has its keys.
    pub async fn is_ready(&self) {
        match self.place {
            Place::Service => self.claimgate.is_ready().await,
            Place::Module => {
                eventually("the module has its keys", async || {
                    self.metric("claimgate_jwks_keys", "").await > Some(0)
                })
                .await;
            }
        }
    }

    /// Stops what decides, and starts it again.
    pub async fn restart(&mut self) {
        match self.place {
            Place::Service => self.claimgate.restart().await,
            Place::Module => {
                let binary = envoy_binary();
                let started = Envoy::start(&binary, &self.configuration, &self.wiring);
                self.envoy = started.await.unwrap();
            }
        }
    }
}
