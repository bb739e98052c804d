//! `vfsync resolve`, in the process that keeps the replica: its links carry the decision out at once.

use super::control::{Ending, below};
use super::site::Site;
use crate::replica::apply::words;
use crate::replica::conflicts::{Keep, Resolution};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A conflict that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "resolved")]
pub struct ResolvedLine {
    /// Where, below its root; lossy.
    pub path: String,
    /// What was kept, for a person.
    pub kept: String,
}

/// Ends the conflicts at or below a path.
pub(super) async fn resolve(site: &Arc<Site>, path: &Path, keep: Keep) -> (Vec<ResolvedLine>, Ending) {
    let refuse = |say: String| (Vec::new(), Ending { exit: 3, say: Some(say) });
    let kept = site.replicas().into_iter().find_map(|kept| {
        let at = below(&kept.root, &super::kept::canonical(path)).or_else(|| below(&kept.root, path))?;
        Some((kept, at))
    });
    let Some((kept, at)) = kept else {
        return refuse(format!("{} lies in no root that is kept here", path.display()));
    };
    let (stage, _) = kept.stage();
    let Some(replica) = stage.replica().cloned() else {
        return refuse(format!("{} is {} now: try again when it is not", kept.root.display(), stage.word()));
    };
    match tokio::task::spawn_blocking(move || replica.resolve(&at, keep)).await {
        Ok(Ok(done)) => {
            let line = |(path, how): (crate::core::path::RelPath, Resolution)| ResolvedLine {
                path: path.to_string(),
                kept: how.to_string(),
            };
            (done.into_iter().map(line).collect(), Ending::well())
        }
        Ok(Err(error)) => refuse(words(&error)),
        Err(error) => refuse(error.to_string()),
    }
}
