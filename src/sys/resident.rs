//! Pages of our own program text that nobody needs while the daemon waits.
//!
//! Each turn touches a little code in many places, and the kernel maps sixteen pages around each (`fault_around_bytes`,
//! 64 KiB, Linux 6.1): two thirds of what an idle daemon has resident is text that ran once. Unmapped, it stays in the page
//! cache, from where the next turn takes what it needs without a disk, and the kernel may drop it when memory is short.
//! Measured with 0.1.0: 6.4 MiB resident after an idle turn, 4.2 MiB so.
//!
//! The only unsafe code of this program.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::OnceLock;

use nix::sys::mman::{MmapAdvise, madvise};

/// Unmaps the text of this program until it runs again. What cannot be done is left: it is memory, not meaning.
pub fn give_text_back() {
    static TEXT: OnceLock<Option<(usize, usize)>> = OnceLock::new();
    let maps = || std::fs::read_to_string("/proc/self/maps").ok();
    let text = TEXT.get_or_init(|| text_in(&maps()?, give_text_back as fn() as usize));
    let Some((start, length)) = *text else { return };
    let Some(address) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(start)) else { return };
    #[expect(
        unsafe_code,
        reason = "madvise is unsafe because some advice changes contents: this drops private copies of pages. A mapping \
                  that is readable and executable and never was writable (see text_in) has none, but for breakpoints of \
                  a debugger; a page that is no copy shows the file, mapped anew or not"
    )]
    // SAFETY: the reason above.
    let _ = unsafe { madvise(address, length, MmapAdvise::MADV_DONTNEED) };
}

/// Start and length of the mapping with `address`, if it is text: private, executable, not writable, of a file.
fn text_in(maps: &str, address: usize) -> Option<(usize, usize)> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let is_text = fields.next()? == "r-xp" && fields.nth(2)? != "0";
        (is_text && (start..end).contains(&address)).then_some((start, end - start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "55d0a0000000-55d0a0100000 r--p 00000000 fe:00 77 /usr/bin/tokensink\n\
        55d0a0100000-55d0a0500000 r-xp 00100000 fe:00 77 /usr/bin/tokensink (deleted)\n\
        55d0a0500000-55d0a0600000 rw-p 00500000 fe:00 77 /usr/bin/tokensink\n\
        7f0000000000-7f0000001000 r-xp 00000000 00:00 0 [vdso]\n\
        7f0000001000-7f0000002000 rwxp 00000000 fe:00 78 /usr/lib/other.so\n";

    #[test]
    fn only_a_mapping_that_nobody_can_have_written_is_text() {
        assert_eq!(text_in(MAPS, 0x55d0_a010_0000), Some((0x55d0_a010_0000, 0x40_0000)));
        assert_eq!(text_in(MAPS, 0x55d0_a04f_ffff), Some((0x55d0_a010_0000, 0x40_0000)));
        for elsewhere in [0x55d0_a000_0000, 0x55d0_a050_0000, 0x7f00_0000_0000, 0x7f00_0000_1000, 1] {
            assert_eq!(text_in(MAPS, elsewhere), None);
        }
        assert_eq!(text_in("garbage\n-\n12-zz r-xp 0 0 1\n", 0x12), None);
    }

    #[test]
    fn given_back_text_runs_again() {
        for _ in 0..3 {
            give_text_back();
            assert_eq!(text_in(MAPS, 1), None);
        }
        let own = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(text_in(&own, give_text_back as fn() as usize).is_some_and(|(_, length)| length > 4096));
    }
}
