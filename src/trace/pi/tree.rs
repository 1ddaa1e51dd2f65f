//! Which lines are on the active branch.
//!
//! As OpenClaw's src/config/sessions/transcript-tree.ts: lines are taken in the order of the file,
//! each one that is not beside the branch becomes its end, and a `leaf` line moves the end.

use std::collections::HashMap;

use super::entry::{Entry, Follows, Says};

/// Where a line's parent was found.
#[derive(Clone, Copy)]
enum Up {
    Root,
    At(usize),
    /// Not among the lines before.
    Missing,
}

/// The entries from the root to the active leaf.
pub fn active(entries: &[Entry]) -> Vec<usize> {
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    let mut up = Vec::with_capacity(entries.len());
    // Where the branch ends, and the line that was written last.
    let (mut end, mut last) = (None, None);
    for (n, entry) in entries.iter().enumerate() {
        let target = |id: &str| match by_id.get(id).map(|at| (*at, &up[*at])) {
            // Who follows a `leaf` line follows its target.
            Some((at, up)) if matches!(entries[at].says, Says::Leaf(_)) => *up,
            Some((at, _)) => Up::At(at),
            None => Up::Missing,
        };
        let mut parent = match &entry.parent {
            Follows::LineBefore => end.map_or(Up::Root, Up::At),
            Follows::Nothing => Up::Root,
            Follows::Id(id) => target(id),
        };
        match &entry.says {
            Says::Leaf(Some(id)) => {
                if let Up::At(at) = target(id) {
                    parent = Up::At(at);
                    (end, last) = (Some(at), Some(at));
                }
            }
            Says::Leaf(None) | Says::Header(_) | Says::Unknown(_) => {}
            _ if entry.side => last = Some(n),
            _ => {
                // The branch goes on beside a side entry, not after it.
                if let (Up::At(at), Some(end)) = (parent, end)
                    && Some(at) == last
                {
                    parent = Up::At(end);
                }
                (end, last) = (Some(n), Some(n));
            }
        }
        up.push(parent);
        if let Some(id) = &entry.id
            && !matches!(entry.says, Says::Header(_))
        {
            by_id.insert(id, n);
        }
    }
    let mut seen = vec![false; entries.len()];
    let mut path = Vec::new();
    let mut at = end;
    while let Some(n) = at.filter(|n| !std::mem::replace(&mut seen[*n], true)) {
        path.push(n);
        at = match (up[n], &entries[n].parent) {
            (Up::Root, _) => None,
            (Up::At(at), _) => Some(at),
            // Lines out of order; else what was damaged may have been the parent.
            (Up::Missing, Follows::Id(id)) => by_id.get(id.as_str()).copied().or_else(|| {
                let before = entries[n].after_damage.then(|| n.checked_sub(1)).flatten();
                before.filter(|at| !matches!(entries[*at].says, Says::Header(_)))
            }),
            (Up::Missing, _) => None,
        };
    }
    path.reverse();
    path
}
