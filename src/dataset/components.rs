//! Which sessions belong together, and what a new one may join.

use std::collections::{BTreeMap, BTreeSet};

use super::split::Part;

/// A session with what decides about its place. Sessions of which every row went as a copy are
/// here too: they tie their session to the row that stayed.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// What identifies it among all sources.
    pub key: String,
    /// When it began, where known.
    pub started_ms: Option<i64>,
    /// The part earlier runs put it in.
    pub part: Option<Part>,
    /// What may not be split besides the session itself.
    pub repositories: BTreeSet<String>,
    /// Sessions with copies of, or derivations from, its rows.
    pub linked: BTreeSet<usize>,
}

impl Session {
    /// The oldest session names a component: what comes later changes nothing then.
    fn age(&self) -> (i64, &str) {
        (self.started_ms.unwrap_or(i64::MAX), &self.key)
    }
}

/// Sessions that are split together.
#[derive(Debug, Clone)]
pub(super) struct Component {
    /// The key of its oldest session.
    pub name: String,
    /// The part earlier runs put it in.
    pub part: Option<Part>,
    /// Its sessions.
    pub sessions: Vec<usize>,
}

/// Joins linked sessions, those held out earlier first. A session that would join two components
/// which earlier runs put in different parts joins neither and is left out: otherwise either a
/// held-out row would be trained on or a row trained on would be judged.
pub(super) fn connect(sessions: &[Session]) -> Vec<Component> {
    let mut order: Vec<usize> = (0..sessions.len()).collect();
    order.sort_by_key(|s| {
        let session = &sessions[*s];
        let rank = session.part.map_or(3, |p| match p {
            Part::Val => 0,
            Part::Tune => 1,
            Part::Train => 2,
        });
        (rank, session.age())
    });
    let mut placed = vec![false; sessions.len()];
    let mut union = Union::new(sessions);
    let mut by_repository: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for at in order {
        let session = &sessions[at];
        let mut neighbours: BTreeSet<usize> =
            session.linked.iter().copied().filter(|other| placed[*other]).collect();
        for repository in &session.repositories {
            neighbours.extend(by_repository.get(repository.as_str()).into_iter().flatten());
        }
        let mut parts: BTreeSet<Part> = session.part.into_iter().collect();
        parts.extend(neighbours.iter().filter_map(|n| union.part(*n)));
        if parts.len() > 1 {
            continue;
        }
        placed[at] = true;
        for neighbour in neighbours {
            union.join(at, neighbour);
        }
        for repository in &session.repositories {
            let root = union.root(at);
            let known = by_repository.entry(repository).or_default();
            *known = known.iter().map(|k| union.root(*k)).chain([root]).collect();
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in (0..sessions.len()).filter(|at| placed[*at]) {
        members.entry(union.root(at)).or_default().push(at);
    }
    let component = |(root, members): (usize, Vec<usize>)| {
        let oldest = members.iter().map(|m| &sessions[*m]).min_by_key(|s| s.age());
        let name = oldest.map(|s| s.key.clone()).unwrap_or_default();
        Component { name, part: union.part(root), sessions: members }
    };
    members.into_iter().map(component).collect()
}

/// Disjoint sets, each with the part its members were put in.
struct Union {
    parent: Vec<usize>,
    part: Vec<Option<Part>>,
}

impl Union {
    fn new(sessions: &[Session]) -> Self {
        let part = sessions.iter().map(|s| s.part).collect();
        Union { parent: (0..sessions.len()).collect(), part }
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn part(&mut self, at: usize) -> Option<Part> {
        let root = self.root(at);
        self.part[root]
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.part[low] = self.part[low].or(self.part[high]);
        self.parent[high] = low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(key: &str, part: Option<Part>, linked: &[usize]) -> Session {
        let linked = linked.iter().copied().collect();
        Session { key: key.into(), part, linked, ..Session::default() }
    }

    fn names(components: &[Component], sessions: &[Session]) -> Vec<Vec<String>> {
        let keys = |c: &Component| c.sessions.iter().map(|s| sessions[*s].key.clone()).collect();
        let mut names: Vec<Vec<String>> = components.iter().map(keys).collect();
        names.sort();
        names
    }

    #[test]
    fn linked_sessions_form_a_component_named_after_the_oldest() {
        let mut all = vec![
            session("a", None, &[1]),
            session("b", None, &[0, 2]),
            session("c", None, &[1]),
            session("d", None, &[]),
        ];
        all[2].started_ms = Some(5);
        let found = connect(&all);
        assert_eq!(names(&found, &all), [vec!["a", "b", "c"], vec!["d"]]);
        assert_eq!(found[0].name, "c");
    }

    #[test]
    fn a_new_session_joins_what_it_resembles_and_never_bridges() {
        let all = vec![
            session("old-val", Some(Part::Val), &[2, 3]),
            session("old-train", Some(Part::Train), &[3]),
            session("new-like-val", None, &[0]),
            session("new-bridge", None, &[0, 1]),
            session("free", None, &[]),
        ];
        let found = connect(&all);
        let wanted = [vec!["free"], vec!["old-train"], vec!["old-val", "new-like-val"]];
        assert_eq!(names(&found, &all), wanted);
        let val = found.iter().find(|c| c.part == Some(Part::Val)).unwrap();
        assert_eq!(val.sessions, [0, 2]);
    }

    #[test]
    fn of_two_old_sessions_that_turn_out_linked_the_held_out_one_stays() {
        let all = vec![session("a", Some(Part::Train), &[1]), session("b", Some(Part::Val), &[0])];
        assert_eq!(names(&connect(&all), &all), [vec!["b"]]);
    }

    #[test]
    fn a_repository_keeps_its_sessions_together() {
        let mut all: Vec<_> = ["a", "b", "c"].map(|k| session(k, None, &[])).into();
        all[0].repositories.insert("r".into());
        all[2].repositories.insert("r".into());
        assert_eq!(names(&connect(&all), &all), [vec!["a", "c"], vec!["b"]]);
    }
}
