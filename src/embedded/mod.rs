//! What stands in, on one machine and with no configuration, for services a
//! larger installation brings itself.

pub mod postgres;
pub mod s3;
