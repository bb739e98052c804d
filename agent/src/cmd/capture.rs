//! Opening capture for a command.

use crate::capture::{Capture, CaptureRequest, Tier};
use crate::options::CaptureChoice;
use std::path::Path;

/// Opens capture for one root. Where it is not possible or not wanted everything is looked at periodically; the text
/// says which it is, for a person.
pub async fn open(choice: CaptureChoice, root: &Path) -> (Option<Capture>, String) {
    if choice == CaptureChoice::Scan {
        return (None, "no capture: everything is looked at once a minute".to_owned());
    }
    let mode = choice.into();
    let roots = vec![root.to_owned()];
    let opened = tokio::task::spawn_blocking(move || {
        Capture::open(&CaptureRequest { mode, ..CaptureRequest::default() }, &roots)
    });
    match opened.await {
        Ok(Ok((capture, _report))) => match capture.tier() {
            Tier::Scan => (
                None,
                "no capture is possible (vfsync doctor says why): everything is looked at once a minute"
                    .to_owned(),
            ),
            tier => (Some(capture), format!("capture by {tier}")),
        },
        Ok(Err(error)) => {
            let why = anyhow::Error::new(error);
            (None, format!("no capture: {why:#}; everything is looked at once a minute"))
        }
        Err(error) => (None, format!("no capture: {error}; everything is looked at once a minute")),
    }
}
