//! The settings of files.

use std::time::Duration;

use super::{milliseconds, seconds, within};

/// What may be uploaded, and how long what nobody needs is kept.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Uploads")]
pub struct Files {
    /// Bytes in a file of any kind
    #[arg(long, env, default_value = "104857600", value_name = "BYTES", value_parser = within::<i64>(1..=2_147_483_647))]
    pub max_upload_bytes: i64,
    /// Bytes in a picture, which is read into memory whole
    #[arg(long, env, default_value = "33554432", value_name = "BYTES", value_parser = within::<i64>(1024..=268_435_456))]
    pub max_image_bytes: i64,
    /// Bytes in a video
    #[arg(long, env, default_value = "104857600", value_name = "BYTES", value_parser = within::<i64>(1..=2_147_483_647))]
    pub max_video_bytes: i64,
    /// Bytes in a recording of sound
    #[arg(long, env, default_value = "67108864", value_name = "BYTES", value_parser = within::<i64>(1..=2_147_483_647))]
    pub max_audio_bytes: i64,
    /// Bytes of all files of one user together, uploads under way included; 0 means no limit
    #[arg(long, env, default_value = "10737418240", value_name = "BYTES", value_parser = within::<i64>(0..=1_099_511_627_776_000))]
    pub storage_quota_bytes: i64,
    /// Seconds a file is kept that nothing refers to: not completed, not sent, or its last message gone
    #[arg(long, env, default_value = "86400", value_name = "SECONDS", value_parser = seconds(3600..=31_536_000))]
    pub attachment_grace: Duration,
    /// Milliseconds between two looks for files that are to be removed
    #[arg(long, env, default_value = "60000", value_name = "MS", value_parser = milliseconds(20..=3_600_000))]
    pub attachment_sweep_interval: Duration,
}
