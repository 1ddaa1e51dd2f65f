//! What agents really store, read by us. Run by the scripts in `scripts/agents`, which run the
//! agents first.

mod opencode;
