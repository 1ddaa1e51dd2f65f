//! The memory this process holds and may still take, as Linux counts it (proc(5), cgroups(7));
//! other systems say nothing.

/// Bytes that are resident now.
pub fn now() -> Option<u64> {
    status("VmRSS:")
}

/// The most bytes that were resident since [`forget_peak`], or since the process began.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Begins to measure [`peak`] anew. Where that is not permitted the old one stays.
pub fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Bytes that could be taken without swapping: of the machine, or of the control group that this
/// process is confined to.
pub fn available() -> Option<u64> {
    let machine = kib(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let group = |name| std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    let number = |name| group(name)?.trim().parse::<u64>().ok();
    let left = || Some(number("max")?.saturating_sub(number("current")?));
    Some(left().map_or(machine, |left| left.min(machine)))
}

fn status(field: &str) -> Option<u64> {
    kib(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

/// A line `FIELD: N kB`, in bytes.
fn kib(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
