//! The settings of files.

use std::time::Duration;

use super::{milliseconds, within};

/// Time after which a file without a reference is removed: its upload was not completed, it was not sent, or its last
/// message was deleted.
pub const ATTACHMENT_GRACE: Duration = Duration::from_hours(24);

/// Limits of uploads, and the removal of files that are not used.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Uploads")]
pub struct Files {
    /// Maximum size in bytes of a file of any kind
    #[arg(long, env, default_value = "104857600", value_name = "BYTES", value_parser = within::<i64>(1..=2_147_483_647))]
    pub max_upload_bytes: i64,
    /// Maximum size in bytes of a picture, which is read into memory
    #[arg(long, env, default_value = "67108864", value_name = "BYTES", value_parser = within::<i64>(1024..=268_435_456))]
    pub max_image_bytes: i64,
    /// Maximum size in bytes of a video
    #[arg(long, env, default_value = "104857600", value_name = "BYTES", value_parser = within::<i64>(1..=2_147_483_647))]
    pub max_video_bytes: i64,
    /// Maximum size in bytes of a recording of sound
    #[arg(long, env, default_value = "67108864", value_name = "BYTES", value_parser = within::<i64>(1..=2_147_483_647))]
    pub max_audio_bytes: i64,
    /// Maximum size in bytes of all files of one user together, including unfinished uploads; 0 means no limit
    #[arg(long, env, default_value = "10737418240", value_name = "BYTES", value_parser = within::<i64>(0..=1_099_511_627_776_000))]
    pub storage_quota_bytes: i64,
    /// Milliseconds between two searches for unused files, which are then removed
    #[arg(long, hide = true, default_value = "60000", value_parser = milliseconds(20..=3_600_000))]
    pub attachment_sweep_interval: Duration,
}
