//! The waveform of a recording: its loudness over time.

/// Number of peaks in a waveform: as many as fit beside a voice message on a phone.
pub const WAVEFORM_PEAKS: usize = 64;

/// Number of peaks at which neighbours are joined, so that memory does not grow with the duration.
const MAX_PEAKS: usize = 64 * WAVEFORM_PEAKS;
/// Number of samples in a peak before neighbours are joined.
const FIRST_STEP: usize = 64;
/// A recording whose loudest sample is below this is silent, so that its noise is not drawn like speech: -60 dB.
const SILENCE: f32 = 0.001;

/// Collects the samples of a recording whose duration is not known before its end.
pub struct Waveform {
    peaks: Vec<f32>,
    /// Samples in one peak, and samples so far in the current peak.
    step: usize,
    filled: usize,
    peak: f32,
}

impl Waveform {
    pub fn new() -> Self {
        Self { peaks: Vec::with_capacity(MAX_PEAKS), step: FIRST_STEP, filled: 0, peak: 0.0 }
    }

    /// Adds samples between -1 and 1. The samples of all channels alternate.
    pub fn push(&mut self, samples: &[f32]) {
        for sample in samples {
            // A sample that is not a number counts as 1, because `min` ignores it.
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

    /// Returns `WAVEFORM_PEAKS` numbers from 0 to 100. None if there are no samples.
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
