//! What changes in Envoy Gateway's objects.

use std::fmt::Write as _;

use super::Policy;
use crate::import::write::scalar;

/// For each policy, the part that takes the place of `jwt` and `authorization`.
pub(super) fn of(policies: &[Policy<'_>]) -> String {
    let mut text = String::from(
        "# Each policy asks claimgate in place of its `jwt` and `authorization`: delete both, and add `extAuth`.
# Targets and all other fields stay as they are. A ReferenceGrant in claimgate's namespace must allow it.
",
    );
    for policy in policies {
        let recompute = match policy.recomputes_route {
            true => "    recomputeRoute: true\n",
            false => "",
        };
        let _ = write!(
            text,
            "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  extAuth:
    failOpen: false
    statusOnError: 503
    timeout: 500ms
{recompute}    contextExtensions: [{{ name: claimgate.rule, type: Value, value: {rule} }}]
    grpc:
      backendRefs: [{{ name: claimgate, namespace: claimgate, port: 9001 }}]
",
            name = scalar(&policy.name.name),
            namespace = scalar(&policy.name.namespace),
            rule = scalar(&policy.rule),
        );
    }
    text
}
