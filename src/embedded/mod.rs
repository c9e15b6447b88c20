//! Services that the server runs itself if the operator configures none: a private Postgres and an S3, for one machine.

pub mod postgres;
pub mod s3;
