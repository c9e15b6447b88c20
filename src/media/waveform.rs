//! How loud a recording is over its time.

/// Loudnesses in a waveform: what fits beside a voice message on a telephone.
pub const WAVEFORM_PEAKS: usize = 64;

/// Peaks that are gathered before neighbours are joined, so that memory does not grow with the length.
const MAX_PEAKS: usize = 64 * WAVEFORM_PEAKS;
/// Samples of one peak at first.
const FIRST_STEP: usize = 64;
/// Below this a recording is silent, and not drawn as if its noise were speech: -60 dB.
const SILENCE: f32 = 0.001;

/// Gathers samples of a recording whose length is not known before its end.
pub struct Waveform {
    peaks: Vec<f32>,
    /// Samples in one peak, and in the one that is being gathered.
    step: usize,
    filled: usize,
    peak: f32,
}

impl Waveform {
    pub fn new() -> Self {
        Self { peaks: Vec::with_capacity(MAX_PEAKS), step: FIRST_STEP, filled: 0, peak: 0.0 }
    }

    /// Samples between -1 and 1; those of all channels one after another.
    pub fn push(&mut self, samples: &[f32]) {
        for sample in samples {
            // Also what is not a number, which is smaller than nothing.
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

    /// `WAVEFORM_PEAKS` numbers from 0 to 100, or none where there was no sound to draw.
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
