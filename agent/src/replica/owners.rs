//! [`Accounts`] are the names that this host gives to user and group ids, so that an owner can be the same person on
//! hosts that number people differently.
//!
//! A static binary cannot load what the host is configured to ask for names (NSS), so `/etc/passwd` and `/etc/group`
//! are read here, and `getent` is asked for what is not in them (LDAP, SSSD).

mod getent;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of `getent` holds. What is in the files shows at once.
const ANSWER_HOLDS: Duration = Duration::from_secs(60);
/// How many answers of `getent` are kept: a peer may send any number of names.
const ANSWERS_MAX: usize = 10_000;
/// The longest name that is looked up.
const NAME_MAX: usize = 256;

/// Why an owner of another host has no id here. A matter of one path: the file keeps the owner that it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// Nobody of that name is here.
    #[error("no {kind} {name:?} on this host: add it, or set numericids to go by number")]
    Unknown {
        /// Whether it is a user or a group.
        kind: AccountKind,
        /// The name.
        name: String,
    },
    /// The name stands for id 0 here and for another id there. Taking it would give away root.
    #[error("the {kind} {name:?} has id 0 on this host and another one on the other: refused")]
    WouldBeRoot {
        /// Whether it is a user or a group.
        kind: AccountKind,
        /// The name.
        name: String,
    },
}

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// A user.
    User,
    /// A group.
    Group,
}

impl std::fmt::Display for AccountKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AccountKind::User => "user",
            AccountKind::Group => "group",
        })
    }
}

/// The users and groups of this host. To be shared: it remembers what it was told.
#[derive(Debug)]
pub struct Accounts {
    getent: PathBuf,
    users: Mutex<Table>,
    groups: Mutex<Table>,
}

/// The accounts of one kind.
#[derive(Debug)]
struct Table {
    file: PathBuf,
    /// Which state of the file was read: device, inode, size, mtime.
    read: Option<(u64, u64, u64, (i64, i64))>,
    ids: HashMap<String, u32>,
    names: HashMap<u32, String>,
    /// What `getent` said, and when.
    asked: HashMap<Key, (Option<Account>, Instant)>,
}

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Id(u32),
    Name(String),
}

/// One line of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    id: u32,
}

impl Accounts {
    /// Returns the accounts of this host.
    pub fn system() -> Accounts {
        Accounts::of("/etc/passwd".into(), "/etc/group".into(), "getent".into())
    }

    fn of(passwd: PathBuf, group: PathBuf, getent: PathBuf) -> Accounts {
        Accounts { getent, users: Mutex::new(Table::new(passwd)), groups: Mutex::new(Table::new(group)) }
    }

    /// Returns the name to send along with an id; `None` for root, which goes by number alone, and for an id that has
    /// no name.
    pub fn name(&self, kind: AccountKind, id: u32) -> Option<String> {
        if id == 0 {
            return None;
        }
        self.look_up(kind, &Key::Id(id)).map(|account| account.name)
    }

    /// Returns the id that stands here for an owner of another host: by its name if it has one there, else the same
    /// number. Root is root, and nobody else becomes root.
    ///
    /// # Errors
    /// When the name is not known here, or stands for root.
    pub fn local_id(&self, kind: AccountKind, id: u32, name: Option<&str>) -> Result<u32, OwnerError> {
        let Some(name) = name.filter(|_| id != 0) else { return Ok(id) };
        let found = match is_name(name) {
            true => self.look_up(kind, &Key::Name(name.to_owned())),
            false => None,
        };
        match found {
            None => Err(OwnerError::Unknown { kind, name: name.to_owned() }),
            Some(Account { id: 0, .. }) => Err(OwnerError::WouldBeRoot { kind, name: name.to_owned() }),
            Some(account) => Ok(account.id),
        }
    }

    fn look_up(&self, kind: AccountKind, key: &Key) -> Option<Account> {
        if let Some(answer) = self.table(kind).known(key) {
            return answer;
        }
        // Not under the lock: whoever answers may be another host.
        let answer = getent::ask(&self.getent, kind, key);
        self.table(kind).remember(key, answer.clone());
        answer
    }

    fn table(&self, kind: AccountKind) -> MutexGuard<'_, Table> {
        let table = match kind {
            AccountKind::User => &self.users,
            AccountKind::Group => &self.groups,
        };
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new(file: PathBuf) -> Table {
        Table { file, read: None, ids: HashMap::new(), names: HashMap::new(), asked: HashMap::new() }
    }

    /// Returns what is known without asking anybody: `None` if it is not known whether there is such an account.
    fn known(&mut self, key: &Key) -> Option<Option<Account>> {
        self.refresh();
        let in_file = match key {
            Key::Id(id) => self.names.get(id).map(|name| Account { name: name.clone(), id: *id }),
            Key::Name(name) => self.ids.get(name).map(|&id| Account { name: name.clone(), id }),
        };
        if in_file.is_some() {
            return Some(in_file);
        }
        let (answer, at) = self.asked.get(key)?;
        (at.elapsed() < ANSWER_HOLDS).then(|| answer.clone())
    }

    fn remember(&mut self, key: &Key, answer: Option<Account>) {
        if self.asked.len() >= ANSWERS_MAX {
            self.asked.clear();
        }
        self.asked.insert(key.clone(), (answer, Instant::now()));
    }

    /// Reads the file again if it is not the one that was read.
    fn refresh(&mut self) {
        let meta = std::fs::metadata(&self.file).ok();
        let state = meta.map(|m| (m.dev(), m.ino(), m.size(), (m.mtime(), m.mtime_nsec())));
        if state == self.read && self.read.is_some() {
            return;
        }
        self.ids.clear();
        self.names.clear();
        self.asked.clear();
        self.read = state;
        let text = std::fs::read(&self.file).unwrap_or_default();
        for account in String::from_utf8_lossy(&text).lines().filter_map(Account::parse) {
            // The first line wins, as everywhere.
            self.names.entry(account.id).or_insert_with(|| account.name.clone());
            self.ids.entry(account.name).or_insert(account.id);
        }
        tracing::debug!(path = %self.file.display(), n = self.ids.len(), "read the names of owners");
    }
}

impl Account {
    /// Reads a line of either file: name, password, id, and what does not matter here.
    fn parse(line: &str) -> Option<Account> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| is_name(name))?;
        let id = fields.nth(1)?.parse().ok()?;
        Some(Account { name: name.to_owned(), id })
    }
}

/// Returns whether this can be the name of an account: it goes to a program as an argument and may come from a peer.
fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c == ':' || c == '\u{fffd}';
    // `+` and `-` are how the files say "and what NIS has".
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains(odd) && !name.starts_with(['+', '-'])
}
