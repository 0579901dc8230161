//! The memory of a running process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// The number of characters of a token that count as a part of it: 18 bytes.
pub const WINDOW: usize = 24;

/// The size of a page, in bytes.
const PAGE: u64 = 4096;

/// The writable memory of a process: heap, stacks and data. Only pages that it has used.
///
/// # Panics
///
/// If the memory cannot be read: that takes root, or a parent that may trace its child.
pub fn writable(pid: u32) -> Vec<Vec<u8>> {
    let open = |name: &str| {
        File::open(format!("/proc/{pid}/{name}")).unwrap_or_else(|error| {
            panic!("cannot read the memory of process {pid}: {error}; run this test as root")
        })
    };
    let (memory, page_map) = (open("mem"), open("pagemap"));
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut regions = Vec::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut entries = vec![0; usize::try_from((to - from) / PAGE * 8).unwrap()];
        page_map
            .read_exact_at(&mut entries, from / PAGE * 8)
            .unwrap();
        let (entries, _) = entries.as_chunks::<8>();
        // Bit 63: the page is in memory; bit 62: it is swapped out (proc_pid_pagemap(5)).
        let is_used = |entry: &[u8; 8]| u64::from_ne_bytes(*entry) >> 62 != 0;
        let mut start = from;
        for run in entries.chunk_by(|one, next| is_used(one) == is_used(next)) {
            let bytes = run.len() as u64 * PAGE;
            if run.first().is_some_and(is_used) {
                let mut region = vec![0; usize::try_from(bytes).unwrap()];
                memory
                    .read_exact_at(&mut region, start)
                    .unwrap_or_else(|error| panic!("cannot read the memory at {line}: {error}"));
                regions.push(region);
            }
            start += bytes;
        }
    }
    regions
}

/// The middle of a part of a token.
pub fn middle(part: &str) -> [u8; WINDOW] {
    let from = (part.len() - WINDOW) / 2;
    part.as_bytes()[from..from + WINDOW].try_into().unwrap()
}

/// Which of these windows, which are base64url, the bytes contain.
pub fn found<'b>(
    bytes: &'b [u8],
    windows: &HashSet<[u8; WINDOW]>,
) -> impl Iterator<Item = [u8; WINDOW]> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let runs = bytes.split(move |byte| !is_base64(byte));
    let in_runs = runs.flat_map(|run: &'b [u8]| run.array_windows::<WINDOW>());
    in_runs.filter(|window| windows.contains(*window)).copied()
}
