//! The raw-trace contract.
