//! The decision log: one line of JSON for each decision, for audits and for `claimgate diff`.

pub mod record;
