//! Numbers that a seed determines (SplitMix64): a year that failed can be played again.

#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x05ee_d0fa_5eed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = u64::try_from(most - least + 1).expect("a span");
        least + i64::try_from(self.next() % span).expect("fits")
    }

    /// As `between`, each order of magnitude as likely as the next.
    pub fn scale(&mut self, least: i64, most: i64) -> i64 {
        let share = (self.next() % 1_000_000) as f64 / 1e6;
        let (least, most) = (least as f64, most as f64);
        (least * (most / least).powf(share)) as i64
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}
