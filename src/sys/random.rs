//! Random numbers from the system. Nothing else draws any.

use std::io;

use zeroize::Zeroizing;

/// Bytes that nobody can guess, wiped on drop.
///
/// # Errors
/// When the system gives none.
pub fn bytes<const N: usize>() -> io::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0_u8; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A number in `0.0..1.0`, to spread retries; `0.5` in the unheard-of case that the system gives
/// none.
#[must_use]
pub fn unit() -> f64 {
    let mut bytes = [0_u8; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
