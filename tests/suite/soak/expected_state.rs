//! What one worker's own files and volumes must be, by what it acknowledged.

use super::content::{Content, checksum};
use super::work::{BEGINS, BROKEN, ENDS, LEAVES, OK};
use std::collections::HashMap;
use std::fmt;

/// What a file may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    Whole(Content),
    /// The second content up to any point beyond the first.
    Growing(Content, Content),
    /// The last content up to any point, and behind that what is left of the one over which it is written: that is the
    /// second up to any point beyond the first.
    Overwriting(Content, Content, Content),
}

impl State {
    /// The content that these bytes are, where this state allows them.
    fn matching(&self, found: Option<&[u8]>) -> Option<State> {
        match (self, found) {
            (State::Absent, None) => Some(State::Absent),
            (State::Whole(content), Some(found)) => {
                (content.len() == found.len() && content.bytes() == found).then(|| self.clone())
            }
            (State::Growing(least, most), Some(found)) => {
                let length = found.len();
                let fits = (least.len()..=most.len()).contains(&length) && most.bytes()[..length] == *found;
                fits.then(|| State::Whole(most.cut(length)))
            }
            (State::Overwriting(least, most, new), Some(found)) => {
                let length = found.len();
                let written = new.bytes().iter().zip(found).take_while(|(new, found)| new == found).count();
                let is_cut = length > least.len() || length == new.len();
                let whole = match written == length && is_cut {
                    true => new.cut(length),
                    false => new.over(written, &most.cut(length)),
                };
                let fits = is_cut || length == least.len();
                (fits && whole.len() == length && whole.bytes() == found).then_some(State::Whole(whole))
            }
            _ => None,
        }
    }

    fn has(&self, length: usize, sum: u32) -> bool {
        let is = |content: &Content| content.len() == length && checksum(&content.bytes()) == sum;
        match self {
            State::Absent => false,
            State::Whole(content) => is(content),
            State::Growing(least, most) => {
                (least.len()..=most.len()).contains(&length) && is(&most.cut(length))
            }
            // Only a worker that died leaves that. The next worker takes over what was found.
            State::Overwriting(..) => false,
        }
    }
}

/// A volume and a path in it.
pub type At = (String, String);

/// What may become of a file by an operation that has begun: when it succeeds, and when it is cut short.
struct Change {
    at: At,
    done: Vec<State>,
    meanwhile: Vec<State>,
}

/// An operation that has begun.
struct Begun {
    words: Vec<String>,
    changes: Vec<Change>,
}

#[derive(Default)]
pub struct ExpectedState {
    files: HashMap<At, Vec<State>>,
    /// Whether each own volume may be there, and whether it may be missing.
    pub volumes: HashMap<String, (bool, bool)>,
    begun: Option<Begun>,
    /// The two places of a rename that was cut short.
    renamed: Option<(At, At)>,
    /// What a worker said that no operation says: why it panicked.
    panic: Vec<String>,
}

/// What an operation answers if all goes well and if it is refused by right.
const MAY_BE_REFUSED: [(&str, &[&str]); 10] = [
    ("write", &["ERR_QUOTA_EXCEEDED"]),
    ("append", &["ERR_QUOTA_EXCEEDED"]),
    ("share", &["ENOENT"]),
    (
        "guest",
        &[
            "ERR_PATH_ESCAPE",
            "ENOENT",
            "ENOTDIR",
            "ELOOP",
            "EBUSY",
            "EISDIR",
            "EEXIST",
            "ENOTEMPTY",
            "EINVAL",
        ],
    ),
    ("pool-create", &["ERR_VOLUME_ALREADY_EXISTS"]),
    ("pool-remove", &["ERR_VOLUME_NOT_FOUND", "ERR_VOLUME_IN_USE"]),
    ("pool-get", &["ERR_VOLUME_NOT_FOUND"]),
    ("pool-hold", &["ERR_VOLUME_NOT_FOUND", "ERR_VOLUME_IN_USE"]),
    ("pool-ensure", &["ERR_VOLUME_IN_USE"]),
    ("pool-file", &["ERR_VOLUME_NOT_FOUND", "ENOENT", "ERR_QUOTA_EXCEEDED"]),
];

impl ExpectedState {
    /// Notes a line that a worker said, and gives what is wrong with it. True where an operation ended.
    pub fn hear(&mut self, line: &str) -> Result<bool, String> {
        if let Some(what) = line.strip_prefix(BEGINS) {
            let words: Vec<_> = what.split(' ').map(str::to_owned).collect();
            let changes = self.changes(&words);
            self.begun = Some(Begun { words, changes });
            return Ok(false);
        }
        if let Some(answer) = line.strip_prefix(ENDS) {
            let begun = self.begun.take().ok_or_else(|| format!("nothing had begun that ends: {line}"))?;
            return self.end(begun, answer).map(|()| true);
        }
        if let Some(held) = line.strip_prefix(LEAVES) {
            let held: Vec<usize> = held.split(' ').map(|count| count.parse().unwrap()).collect();
            return match held[..] {
                [files, files_now, threads, threads_now] if files_now <= files && threads_now <= threads => {
                    Ok(false)
                }
                _ => Err(format!("descriptors or threads were left: {held:?}")),
            };
        }
        self.panic.push(line.to_owned());
        Ok(false)
    }

    fn states(&self, at: &At) -> Vec<State> {
        self.files.get(at).cloned().unwrap_or_else(|| vec![State::Absent])
    }

    /// What an operation on own files may change.
    fn changes(&self, words: &[String]) -> Vec<Change> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let at = |path: &str| (words[1].to_owned(), path.to_owned());
        let number = |word: &str| word.parse::<u64>().unwrap();
        let nothing = Content::default();
        let may_be_new = |at: &At| self.states(at).contains(&State::Absent);
        match words[..] {
            ["write", _, path, mode, seed, length] => {
                let content = Content::of(number(seed), number(length) as usize);
                let whole = State::Whole(content.clone());
                let growing = State::Growing(nothing, content.clone());
                let meanwhile = match mode {
                    "plain" => {
                        let over = |state: State| match state {
                            State::Absent => growing.clone(),
                            State::Whole(old) => State::Overwriting(old.clone(), old, content.clone()),
                            State::Growing(least, most) | State::Overwriting(least, most, _) => {
                                State::Overwriting(least, most, content.clone())
                            }
                        };
                        self.states(&at(path)).into_iter().map(over).collect()
                    }
                    "stream" => vec![growing],
                    "copyIn" if may_be_new(&at(path)) => vec![growing],
                    _ => vec![whole.clone()],
                };
                vec![Change { at: at(path), done: vec![whole], meanwhile }]
            }
            ["append", _, path, seed, length] => {
                let (mut done, mut meanwhile) = (Vec::new(), Vec::new());
                for state in self.states(&at(path)) {
                    let before = match state {
                        State::Absent => nothing.clone(),
                        State::Whole(content)
                        | State::Growing(_, content)
                        | State::Overwriting(_, content, _) => content,
                    };
                    let after = before.then(number(seed), number(length) as usize);
                    done.push(State::Whole(after.clone()));
                    meanwhile.push(State::Growing(before, after));
                }
                vec![Change { at: at(path), done, meanwhile }]
            }
            ["remove", _, path] => {
                vec![Change { at: at(path), done: vec![State::Absent], meanwhile: vec![State::Absent] }]
            }
            ["removeAll", volume, directory] => {
                let below = self.files.keys().filter(|(held, path)| {
                    held == volume && path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
                });
                let gone = |at: &At| Change {
                    at: at.clone(),
                    done: vec![State::Absent],
                    meanwhile: vec![State::Absent],
                };
                below.map(gone).collect()
            }
            ["rename", _, from, to] => {
                let moved = self.present(&at(from));
                vec![
                    Change { at: at(from), done: vec![State::Absent], meanwhile: vec![State::Absent] },
                    Change { at: at(to), done: moved.clone(), meanwhile: moved },
                ]
            }
            ["copy", _, from, to] => {
                let copied = self.present(&at(from));
                let growing = copied.iter().filter_map(|state| match state {
                    State::Whole(content) => Some(State::Growing(Content::default(), content.clone())),
                    _ => None,
                });
                let meanwhile = if may_be_new(&at(to)) { growing.collect() } else { copied.clone() };
                vec![Change { at: at(to), done: copied, meanwhile }]
            }
            _ => Vec::new(),
        }
    }

    fn present(&self, at: &At) -> Vec<State> {
        let mut states = self.states(at);
        states.retain(|state| *state != State::Absent);
        states
    }

    fn end(&mut self, begun: Begun, answer: &str) -> Result<(), String> {
        let (code, detail) = answer.split_once(' ').unwrap_or((answer, ""));
        let words: Vec<&str> = begun.words.iter().map(String::as_str).collect();
        let wrong = || Err(format!("{:?} gave {answer:?}", words.join(" ")));
        if code == BROKEN {
            return wrong();
        }
        match words[..] {
            ["create" | "drop" | "get" | "hold", volume] => {
                let (may_be, may_be_missing) = self.volumes.get(volume).copied().unwrap_or((false, true));
                let (fits, after) = match (words[0], code) {
                    ("create", OK) => (may_be_missing, (true, false)),
                    ("create", "ERR_VOLUME_ALREADY_EXISTS") => (may_be, (true, false)),
                    ("drop", OK) => (may_be, (false, true)),
                    (_, OK) => (may_be, (true, false)),
                    (_, "ERR_VOLUME_NOT_FOUND") => (may_be_missing, (false, true)),
                    _ => (false, (true, true)),
                };
                self.volumes.insert(volume.to_owned(), after);
                return if fits { Ok(()) } else { wrong() };
            }
            ["read", volume, path] => {
                let states = self.states(&(volume.to_owned(), path.to_owned()));
                let numbers = detail.split_once(' ').map(|(length, sum)| (length.parse(), sum.parse()));
                let fits = match (code, numbers) {
                    (OK, Some((Ok(length), Ok(sum)))) => states.iter().any(|state| state.has(length, sum)),
                    ("ENOENT", _) => states.contains(&State::Absent),
                    _ => false,
                };
                return match fits {
                    true => Ok(()),
                    false => Err(format!("{} gave {answer:?}, expected {}", words.join(" "), Shown(&states))),
                };
            }
            ["remove" | "rename" | "copy", volume, path, ..] if code == "ENOENT" => {
                let states = self.states(&(volume.to_owned(), path.to_owned()));
                return if states.contains(&State::Absent) { Ok(()) } else { wrong() };
            }
            ["copy", ..] if code == "ERR_QUOTA_EXCEEDED" => return Ok(()),
            _ => {}
        }
        if code == OK {
            for change in begun.changes {
                self.files.insert(change.at, change.done);
            }
            return Ok(());
        }
        // What a stream wrote before it was refused stays, as its documentation says.
        if let ["append", ..] | ["write", _, _, "stream", ..] = words[..] {
            begun.changes.into_iter().for_each(|change| self.admit(change));
        }
        let allowed = MAY_BE_REFUSED.iter().find(|(verb, _)| *verb == words[0]);
        match allowed.is_some_and(|(_, codes)| codes.contains(&code)) {
            true => Ok(()),
            false => wrong(),
        }
    }

    fn admit(&mut self, change: Change) {
        let states = self.states(&change.at);
        self.files.insert(change.at, [states, change.meanwhile].concat());
    }

    /// The worker is dead: what it was about to do it may have done, or begun. Gives why it panicked, if it did.
    pub fn cut_short(&mut self) -> Option<String> {
        let panic = std::mem::take(&mut self.panic);
        let panic = (!panic.is_empty()).then(|| panic[..panic.len().min(3)].join(" "));
        let Some(begun) = self.begun.take() else { return panic };
        match begun.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["rename", volume, from, to] => {
                let at = |path: &str| (volume.to_owned(), path.to_owned());
                self.renamed = Some((at(from), at(to)));
            }
            ["create" | "drop", volume] => drop(self.volumes.insert(volume.to_owned(), (true, true))),
            _ => begun.changes.into_iter().for_each(|change| self.admit(change)),
        }
        panic
    }

    /// The two places of an interrupted rename whose outcome was not checked yet.
    pub fn take_renamed(&mut self) -> Option<(At, At)> {
        self.renamed.take()
    }

    /// Holds what stands at both places of such a rename against how both were before it, and how both are after it.
    pub fn verify_renamed(
        &mut self,
        places: (At, At),
        found: (Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), String> {
        let matching = |states: &[State], found| states.iter().find_map(|state| state.matching(found));
        let (from, to) = (self.states(&places.0), self.states(&places.1));
        let before = matching(&from, found.0).zip(matching(&to, found.1));
        let after = || matching(&[State::Absent], found.0).zip(matching(&self.present(&places.0), found.1));
        let Some((at_from, at_to)) = before.or_else(after) else {
            let (from, to) = (Compared(&places.0, found.0, &from), Compared(&places.1, found.1, &to));
            return Err(format!("a rename was cut short: {from}; {to}, or the former one's"));
        };
        self.files.extend([(places.0, vec![at_from]), (places.1, vec![at_to])]);
        Ok(())
    }

    /// The files of which more than one thing may be true, or all of them.
    pub fn places(&self, all: bool) -> Vec<At> {
        let places = self
            .files
            .iter()
            .filter(|(_, states)| all || !matches!(states[..], [State::Absent] | [State::Whole(_)]));
        places.map(|(at, _)| at.clone()).collect()
    }

    /// Holds what stands at a place against what may; from then on it is that.
    pub fn verify(&mut self, at: &At, found: Option<&[u8]>) -> Result<(), String> {
        let states = self.states(at);
        match states.iter().find_map(|state| state.matching(found)) {
            Some(state) => {
                self.files.insert(at.clone(), vec![state]);
                Ok(())
            }
            None => Err(Compared(at, found, &states).to_string()),
        }
    }
}

/// What was found at a place, and what might be there, in few words.
struct Compared<'s>(&'s At, Option<&'s [u8]>, &'s [State]);

impl fmt::Display for Compared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compared((volume, path), found, states) = self;
        let found = found.map_or("missing".to_owned(), |found| format!("{} bytes", found.len()));
        write!(f, "{volume}/{path} is {found}, expected {}", Shown(states))
    }
}

/// States in few words.
struct Shown<'s>(&'s [State]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, state) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { " or " } else { "" })?;
            match state {
                State::Absent => f.write_str("none"),
                State::Whole(content) => write!(f, "{} bytes", content.len()),
                State::Growing(least, most) => write!(f, "{} to {} bytes", least.len(), most.len()),
                State::Overwriting(_, old, new) => write!(f, "{} bytes over {}", new.len(), old.len()),
            }?;
        }
        Ok(())
    }
}
