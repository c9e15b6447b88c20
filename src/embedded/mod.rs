//! Services that the server provides itself on one machine without configuration: a private Postgres and an S3.

pub mod postgres;
pub mod s3;
