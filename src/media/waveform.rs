//! The waveform of a recording: its loudness over time.

/// Number of peaks in a waveform: as many as a phone can show for a voice message.
pub const WAVEFORM_PEAKS: usize = 64;

/// Number of collected peaks at which neighbouring peaks are joined, so that memory does not grow with the duration.
const MAX_PEAKS: usize = 64 * WAVEFORM_PEAKS;
/// Number of samples in one peak until neighbouring peaks are joined for the first time.
const FIRST_STEP: usize = 64;
/// Loudness below which a recording counts as silent: -60 dB. Without this threshold, the noise of a silent recording
/// would be drawn like speech.
const SILENCE: f32 = 0.001;

/// Computes the waveform of a recording from its samples. The duration need not be known before the last sample.
pub struct Waveform {
    peaks: Vec<f32>,
    /// Number of samples in one peak.
    step: usize,
    /// Number of samples in the current peak so far.
    filled: usize,
    peak: f32,
}

impl Waveform {
    pub fn new() -> Self {
        Self { peaks: Vec::with_capacity(MAX_PEAKS), step: FIRST_STEP, filled: 0, peak: 0.0 }
    }

    /// Adds samples between -1 and 1. The samples of all channels are interleaved.
    pub fn push(&mut self, samples: &[f32]) {
        for sample in samples {
            // A sample that is NaN counts as 1, because `f32::NAN.min(1.0)` is 1.
            self.peak = self.peak.max(sample.abs().min(1.0));
            self.filled += 1;
            if self.filled == self.step {
                self.peaks.push(self.peak);
                (self.filled, self.peak) = (0, 0.0);
                if self.peaks.len() == MAX_PEAKS {
                    self.join_neighbours();
                }
            }
        }
    }

    fn join_neighbours(&mut self) {
        self.peaks = self.peaks.chunks(2).map(loudest).collect();
        self.step *= 2;
    }

    /// Returns `WAVEFORM_PEAKS` numbers from 0 to 100. None if no samples were added.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.filled > 0 {
            self.peaks.push(self.peak);
        }
        if self.peaks.is_empty() {
            return None;
        }
        let all = loudest(&self.peaks);
        let count = self.peaks.len();
        let peak = |index: usize| {
            let from = index * count / WAVEFORM_PEAKS;
            let to = ((index + 1) * count / WAVEFORM_PEAKS).max(from + 1);
            if all < SILENCE { 0 } else { percent(loudest(&self.peaks[from..to]) / all) }
        };
        Some((0..WAVEFORM_PEAKS).map(peak).collect())
    }
}

fn loudest(peaks: &[f32]) -> f32 {
    peaks.iter().copied().fold(0.0, f32::max)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of one is from 0 to 100 percent")]
fn percent(part: f32) -> u8 {
    (part * 100.0).round() as u8
}
