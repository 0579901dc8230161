//! A decision with what it was made by.

use std::sync::Arc;

use arc_swap::Guard;

use super::Generation;
use claimgate_core::answer::{Answer, Metadata};
use claimgate_core::decision::Decision;
use claimgate_core::request::Request;

/// A decision, and the generation that it was made by.
///
/// INVARIANT: the ids in a decision mean nothing under another generation, so nothing outside the gate
/// gets one without the other.
#[derive(Debug)]
pub struct Judged {
    generation: Guard<Arc<Generation>>,
    decision: Decision,
}

impl Judged {
    pub(super) fn new(generation: Guard<Arc<Generation>>, decision: Decision) -> Self {
        Self {
            generation,
            decision,
        }
    }

    /// The decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What the caller is told.
    pub fn answer<'a>(&'a self, request: &'a Request<'a>) -> Answer<'a> {
        let Generation {
            policy, denials, ..
        } = &**self.generation;
        Answer::to(&self.decision, policy, denials, request)
    }

    /// What other filters of the proxy may know, if the configuration wants it.
    pub fn metadata(&self) -> Option<Metadata<'_>> {
        Metadata::of(&self.decision, &self.generation.policy)
    }

    /// What it was decided by.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}
