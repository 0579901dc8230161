//! What changes in Istio's objects.

use std::fmt::Write as _;

use super::policy::Policy;
use super::workload::{Applies, Workload};
use crate::import::write::{printable, scalar};

/// The policy that asks claimgate, and the policies that it replaces.
pub(super) fn of(policies: &[(&Policy<'_>, Applies)], workload: &Workload) -> String {
    let mut text = format!(
        "# Istio asks claimgate about every request to {named}, before it applies its own policies.
# The mesh needs the provider `claimgate`: deploy/istio of claimgate has it.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: claimgate, namespace: {namespace} }}
spec:
{target}  action: CUSTOM
  provider: {{ name: claimgate }}
  rules: [{{}}]
",
        named = printable(&workload.to_string()),
        namespace = scalar(workload.namespace()),
        target = workload.target_yaml(),
    );
    text.push_str(
        "---
# These say what claimgate says now. Delete them together with claimgate's policy, not before: a mesh without
# both lets every request pass. What applies to other workloads, too, stays until each of those asks claimgate.
",
    );
    // What may be for other workloads alone stays.
    let certain = policies.iter().filter(|(_, it)| *it == Applies::Yes);
    for (policy, _) in certain {
        let wide = match policy.is_wide() {
            true => "  # also for other workloads",
            false => "",
        };
        let command = format!(
            "kubectl --namespace {} delete {}.security.istio.io {}{wide}",
            policy.name.namespace,
            policy.kind.to_ascii_lowercase(),
            policy.name.name,
        );
        let _ = writeln!(text, "# {}", printable(&command));
    }
    text
}
