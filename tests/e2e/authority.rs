//! By default, Envoy sends the name of its cluster as `:authority`.

use claimgate::dev::envoy::EXAMPLE;

use crate::mesh::{Mesh, Place};
use crate::setup::{bearer, eventually, http};

/// The example with another name for claimgate's cluster.
fn named(name: &str, authority: &str) -> String {
    let mut configuration = EXAMPLE.to_owned();
    for (from, to) in [
        (
            "{ cluster_name: claimgate, authority: claimgate }".to_owned(),
            format!("{{ cluster_name: \"{name}\"{authority} }}"),
        ),
        (
            "service_name: envoy.service.auth.v3.Authorization, authority: claimgate }".to_owned(),
            format!("service_name: envoy.service.auth.v3.Authorization{authority} }}"),
        ),
        (
            "    - name: claimgate\n".to_owned(),
            format!("    - name: \"{name}\"\n"),
        ),
        (
            "        cluster_name: claimgate\n".to_owned(),
            format!("        cluster_name: \"{name}\"\n"),
        ),
    ] {
        assert!(configuration.contains(&from), "{from}");
        configuration = configuration.replace(&from, &to);
    }
    configuration
}

#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn a_cluster_may_have_any_name_if_authority_is_set() {
    for name in [
        "outbound|9001||claimgate.x.svc.cluster.local",
        "default/claimgate:grpc",
    ] {
        let mesh = Mesh::start(Place::Service, &named(name, ""), "clock_skew: 0s").await;
        let lines = [bearer(&mesh.provider.token("urn:orders-api").await)];
        let refused = http(mesh.envoy.address(), "GET /orders", &lines).await;
        assert_eq!(refused.status, 503, "{name}: {refused:?}");
        eventually("it is counted", async || {
            let metrics = mesh.claimgate.metrics().await;
            let line = "claimgate_bad_connections_total{kind=\"reset\"} ";
            let count = metrics.lines().find_map(|found| found.strip_prefix(line));
            count.is_some_and(|count| count != "0")
        })
        .await;

        let mesh = Mesh::start(
            Place::Service,
            &named(name, ", authority: claimgate"),
            "clock_skew: 0s",
        )
        .await;
        let lines = [bearer(&mesh.provider.token("urn:orders-api").await)];
        let allowed = http(mesh.envoy.address(), "GET /orders", &lines).await;
        assert_eq!(allowed.status, 200, "{name}: {allowed:?}");
        let none = "claimgate_bad_connections_total{kind=\"reset\"} 0";
        assert!(mesh.claimgate.metrics().await.contains(none), "{name}");
    }
}
