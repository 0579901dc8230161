//! A decision with the generation that made it.

use std::sync::Arc;

use arc_swap::Guard;

use super::Generation;
use claimgate_core::answer::{Answer, Metadata};
use claimgate_core::decision::Decision;
use claimgate_core::request::Request;

/// A decision, and the generation that made it.
///
/// INVARIANT: the ids in a decision mean nothing in another generation, so no code outside the gate
/// gets one without the other.
#[derive(Debug)]
pub struct Judged {
    generation: Guard<Arc<Generation>>,
    decision: Decision,
    /// The id of a request with a denial, enforced or observed.
    id: Option<String>,
}

impl Judged {
    pub(super) fn new(
        generation: Guard<Arc<Generation>>,
        decision: Decision,
        request: &Request<'_>,
    ) -> Self {
        let denial = decision.denial();
        let id = denial.map(|_| request.id().map_or_else(new_id, str::to_owned));
        Self {
            generation,
            decision,
            id,
        }
    }

    /// The decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The id of a request with a denial, enforced or observed: the caller's, or one created here.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The answer for the caller.
    pub fn answer<'a>(&'a self, request: &'a Request<'a>) -> Answer<'a> {
        let Generation {
            policy, denials, ..
        } = &**self.generation;
        Answer::to(&self.decision, policy, denials, request, self.id())
    }

    /// The dynamic metadata, if the configuration enables it.
    pub fn metadata(&self) -> Option<Metadata<'_>> {
        Metadata::of(&self.decision, &self.generation.policy)
    }

    /// The generation that made the decision.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}

/// An id in the form of a trace id.
fn new_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
