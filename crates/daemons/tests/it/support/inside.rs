//! Whether a text is anywhere within a process and what it started.

use std::fs::{self, File};
use std::io::BufRead as _;
use std::os::unix::fs::FileExt as _;

/// One place that has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) process: String,
    pub(crate) place: &'static str,
    pub(crate) detail: String,
}

const PAGE: u64 = 4096;
const BLOCK: u64 = 1 << 20;

/// Every place within `pid` and its descendants that has `text`: memory, environment, arguments, open files.
///
/// # Panics
/// When one of them cannot be looked into: what was not looked at proves nothing.
pub(crate) fn look_for(pid: u32, text: &str) -> Vec<Finding> {
    let family = family(pid);
    assert!(family.len() > 1, "the daemon and its command run");
    family.into_iter().flat_map(|pid| look_into(pid, text.as_bytes())).collect()
}

/// `pid` and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        all.extend(children.flat_map(|text| {
            text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect::<Vec<_>>()
        }));
        next += 1;
    }
    all
}

fn look_into(pid: u32, text: &[u8]) -> Vec<Finding> {
    let process = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    let finding = |place, detail: String| Finding { process: format!("{pid} {process}"), place, detail };
    let mut found = Vec::new();
    for (file, place) in [("environ", "environment"), ("cmdline", "arguments")] {
        // A short-lived command may be gone by now.
        let Ok(content) = fs::read(format!("/proc/{pid}/{file}")) else { return found };
        if has(&content, text) {
            found.push(finding(place, String::new()));
        }
    }
    for open in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let is_file = fs::metadata(open.path()).is_ok_and(|what| what.is_file() && what.len() < 64 << 20);
        if is_file && fs::read(open.path()).is_ok_and(|content| has(&content, text)) {
            let name = fs::read_link(open.path()).unwrap_or_default();
            found.push(finding("open file", name.display().to_string()));
        }
    }
    found.extend(in_memory(pid, text).into_iter().map(|mapping| finding("memory", mapping)));
    found
}

/// The mappings with `text` in a page that is there.
fn in_memory(pid: u32, text: &[u8]) -> Vec<String> {
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return Vec::new() };
    let open = |name: &str| File::open(format!("/proc/{pid}/{name}"));
    let (Ok(memory), Ok(pages)) = (open("mem"), open("pagemap")) else {
        assert!(!fs::exists(format!("/proc/{pid}/maps")).unwrap(), "the memory of {pid} cannot be read");
        return Vec::new();
    };
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with('r'))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (mut at, to) = (number(from), number(to));
        while at < to {
            let end = to.min(at + BLOCK);
            if present(&pages, at, end) {
                // What was found may lie across two blocks.
                let mut bytes = vec![0; usize::try_from(to.min(end + PAGE) - at).unwrap()];
                let read = memory.read_at(&mut bytes, at).unwrap_or(0);
                if has(&bytes[..read], text) {
                    found.push(line.to_owned());
                }
            }
            at = end;
        }
    }
    found
}

/// Whether any page from `at` to `end` is in memory or swapped out.
fn present(pages: &File, at: u64, end: u64) -> bool {
    let mut entries = vec![0; usize::try_from((end - at) / PAGE * 8).unwrap()];
    let read = pages.read_at(&mut entries, at / PAGE * 8).unwrap_or(0);
    entries[..read].chunks_exact(8).any(|entry| entry[7] & 0xc0 != 0)
}

/// Whether `text` is in `bytes`. A debug build searches gigabytes here, so the search for one byte of it
/// is left to the standard library, which is never one.
fn has(mut bytes: &[u8], text: &[u8]) -> bool {
    let before = text.iter().position(|byte| *byte == b'-').unwrap_or(0);
    let whole = bytes;
    loop {
        bytes.skip_until(text[before]).unwrap();
        let at = whole.len() - bytes.len();
        let begins = at.checked_sub(before + 1).map(|start| &whole[start..]);
        if begins.is_some_and(|rest| rest.starts_with(text)) {
            return true;
        }
        if bytes.is_empty() {
            return false;
        }
    }
}
