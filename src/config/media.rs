//! The settings of what is read from files.

use std::time::Duration;

use super::{seconds, within};

/// Seconds that all of looking into one file takes at most, its way from and to S3 included. No single step may be
/// allowed more.
pub const MAX_EXAMINATION: u64 = 240;

/// Looking into files that were sent. Each file costs no more than this, whatever is in it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Looking into files")]
pub struct Media {
    /// Files looked into at once: bounds the memory and the processors that this takes
    #[arg(long, env, default_value = "2", value_name = "1..64", value_parser = within::<usize>(1..=64))]
    pub media_workers: usize,
    /// Files that may wait to be inspected; a further one gets UNAVAILABLE
    #[arg(long, env, default_value = "100", value_name = "0..10000", value_parser = within::<usize>(0..=10_000))]
    pub media_queue: usize,
    /// Files of one user that may wait to be inspected; a further one gets RATE_LIMITED
    #[arg(long, env, default_value = "25", value_name = "0..10000", value_parser = within::<usize>(0..=10_000))]
    pub media_queue_share: usize,
    /// Seconds that looking into one file may take
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=MAX_EXAMINATION))]
    pub media_timeout: Duration,
    /// Pixels of one picture; the default is what phones with 50 megapixels take
    #[arg(long, env, default_value = "50000000", value_name = "PIXELS", value_parser = within::<u64>(1..=1_000_000_000))]
    pub media_max_pixels: u64,
    /// Frames of an animated picture, which together may have ten times MEDIA_MAX_PIXELS
    #[arg(long, env, default_value = "2000", value_name = "1..100000", value_parser = within::<u32>(1..=100_000))]
    pub media_max_frames: u32,
    /// Bytes that one picture may take when it is unpacked
    #[arg(long, env, default_value = "536870912", value_name = "BYTES", value_parser = within::<u64>(1_048_576..=17_179_869_184))]
    pub media_max_memory: u64,
    /// Seconds of sound that a waveform is drawn of; a longer recording has none
    #[arg(long, env, default_value = "900", value_name = "SECONDS", value_parser = seconds(0..=86_400))]
    pub media_max_waveform: Duration,
    /// ClamAV's clamd that looks through each file, as host:port or the path of its socket; without it none does
    #[arg(long, env, value_name = "ADDRESS", value_parser = clamd_address)]
    pub clamd_address: Option<String>,
    /// Seconds that clamd may be silent before it counts as away
    #[arg(long, env, default_value = "60", value_name = "SECONDS", value_parser = seconds(1..=MAX_EXAMINATION))]
    pub clamd_timeout: Duration,
}

/// What `Scanner::new` takes.
fn clamd_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    if text.starts_with('/') || port.is_some_and(|port: u16| port > 0) {
        Ok(text.to_owned())
    } else {
        Err("allowed are an address such as 127.0.0.1:3310, or a path such as /run/clamav/clamd.ctl".to_owned())
    }
}
