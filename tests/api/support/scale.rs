//! How long and how large: small in `make test`, the rest in `make soak`.

/// Every number that differs between the two.
pub struct Scale {
    /// Cases of the log's model.
    pub model_cases: u32,
    /// Whether each run takes other cases.
    pub random: bool,
}

const SMALL: Scale = Scale { model_cases: 60, random: false };

const SOAK: Scale = Scale { model_cases: 3000, random: true };

pub fn scale() -> &'static Scale {
    if std::env::var_os("SOAK").is_some() { &SOAK } else { &SMALL }
}
