//! The learning rate: linear warmup from 0, then linear decay to 0 (google-research/bert `optimization.py`).

/// A warmup and a decay over optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The learning rate at the end of warmup.
    pub peak: f64,
    /// Steps from 0 to the peak; 0 starts at the peak.
    pub warmup_steps: u64,
    /// The step at which the rate reaches 0.
    pub total_steps: u64,
}

impl Schedule {
    /// The learning rate at a step: 0 at step 0, the peak at `warmup_steps`, 0 at `total_steps` and beyond.
    ///
    /// Unlike Google's code, which decays from step 0 and so jumps down at the end of warmup, the decay starts
    /// at the peak.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let decay = self.total_steps.saturating_sub(self.warmup_steps);
        let left = self.total_steps.saturating_sub(step);
        if decay == 0 { 0.0 } else { self.peak * left as f64 / decay as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_table() {
        let schedule = Schedule { peak: 1e-3, warmup_steps: 10, total_steps: 110 };
        for (step, expected) in [
            (0, 0.0),
            (1, 1e-4),
            (5, 5e-4),
            (10, 1e-3),
            (11, 9.9e-4),
            (60, 5e-4),
            (109, 1e-5),
            (110, 0.0),
            (999, 0.0),
        ] {
            assert!((schedule.learning_rate(step) - expected).abs() < 1e-12, "step {step}");
        }
    }

    #[test]
    fn without_warmup_the_first_step_is_the_peak() {
        let schedule = Schedule { peak: 0.1, warmup_steps: 0, total_steps: 4 };
        let rates: Vec<f64> = (0..5).map(|step| schedule.learning_rate(step)).collect();
        assert_eq!(rates, [0.1, 0.1 * 3.0 / 4.0, 0.1 * 2.0 / 4.0, 0.1 / 4.0, 0.0]);
    }

    #[test]
    fn warmup_longer_than_the_run_never_peaks() {
        let schedule = Schedule { peak: 1.0, warmup_steps: 10, total_steps: 5 };
        assert!((schedule.learning_rate(5) - 0.5).abs() < 1e-12);
        assert!(schedule.learning_rate(10).abs() < f64::EPSILON);
    }
}
