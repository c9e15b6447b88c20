//! The settings of the inspection of files.

use std::time::Duration;

use super::{seconds, within};

/// Maximum seconds for the whole inspection of one file, including its transfer from and to S3. The timeout of a single
/// step must not be longer.
pub const MAX_EXAMINATION: u64 = 240;

/// Maximum time for the work on the content of one file, without its transfer from and to S3.
pub const MEDIA_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of frames of an animated picture. All frames together may have ten times `media_max_pixels`.
pub const MEDIA_MAX_FRAMES: u32 = 2000;
/// Maximum duration of a recording that gets a waveform. A longer recording gets no waveform.
pub const MEDIA_MAX_WAVEFORM: Duration = Duration::from_mins(15);

/// Limits for the inspection of files. Every uploaded file is inspected, whatever its content.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Inspection of files")]
pub struct Media {
    /// Maximum number of files that are inspected at the same time. Limits the memory and the processor time of inspections
    #[arg(long, env, default_value = "2", value_name = "1..64", value_parser = within::<usize>(1..=64))]
    pub media_workers: usize,
    /// Maximum number of files that wait for inspection. A further file gets UNAVAILABLE
    #[arg(long, hide = true, default_value = "100")]
    pub media_queue: usize,
    /// Maximum number of files of one user that wait for inspection. A further file gets RATE_LIMITED
    #[arg(long, hide = true, default_value = "25")]
    pub media_queue_share: usize,
    /// Maximum pixels of a picture that gets thumbnails. The default is for pictures of phones with 50 megapixels, 8192 by 6144 pixels. A picture of up to four times as many pixels has no thumbnails, and a larger one is refused
    #[arg(long, env, default_value = "50331648", value_name = "PIXELS", value_parser = within::<u64>(1..=1_000_000_000))]
    pub media_max_pixels: u64,
    /// Maximum bytes of memory for a decoded picture
    #[arg(long, env, default_value = "536870912", value_name = "BYTES", value_parser = within::<u64>(1_048_576..=17_179_869_184))]
    pub media_max_memory: u64,
    /// Address of ClamAV's clamd, which scans each file, as host:port or the path of its socket. If not set, files are not scanned
    #[arg(long, env, value_name = "ADDRESS", value_parser = clamd_address)]
    pub clamd_address: Option<String>,
    /// Maximum seconds until clamd answers. Otherwise clamd counts as unavailable
    #[arg(long, env, default_value = "60", value_name = "SECONDS", value_parser = seconds(1..=MAX_EXAMINATION))]
    pub clamd_timeout: Duration,
}

/// Checks an address for `Scanner::new`.
fn clamd_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    if text.starts_with('/') || port.is_some_and(|port: u16| port > 0) {
        Ok(text.to_owned())
    } else {
        Err("allowed are an address such as 127.0.0.1:3310, or a path such as /run/clamav/clamd.ctl".to_owned())
    }
}
