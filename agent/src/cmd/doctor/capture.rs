//! The tiers of capture: each is tried with its self-test, on the file system of every root.

use super::finding::{Finding, State};
use crate::capture::{self, Preemption, Seen, Tier, TierReport};
use std::path::PathBuf;

/// Tries every tier. Roots that are no folders have findings of their own.
pub(super) async fn look(roots: Vec<PathBuf>) -> Vec<Finding> {
    let roots: Vec<PathBuf> = roots.into_iter().filter(|root| root.is_dir()).collect();
    let surveyed = tokio::task::spawn_blocking(move || capture::survey(&roots)).await;
    let failed = |why: String| vec![Finding::new("capture", "survey", State::Limited, why)];
    match surveyed {
        Ok(Ok((preemption, tiers))) => of(preemption, &tiers),
        Ok(Err(error)) => failed(format!("{:#}", anyhow::Error::new(error))),
        Err(error) => failed(error.to_string()),
    }
}

/// Says of each tier whether it works, and which is taken.
pub(super) fn of(preemption: Preemption, tiers: &[TierReport]) -> Vec<Finding> {
    let usable = |report: &&TierReport| report.refused.is_none() && report.tier != Tier::Scan;
    // Trampolines lose events on a kernel that can be preempted, so `auto` leaves them out there.
    let is_taken_by_auto = |report: &&TierReport| report.tier != Tier::Fentry || preemption.certain();
    let best = tiers.iter().filter(usable).find(is_taken_by_auto).map(|report| report.tier);
    let mut findings = vec![Finding::new("kernel", "preemption", State::Info, preemption.to_string())];
    findings.extend(tiers.iter().map(|report| of_tier(report, best)));
    findings
}

fn of_tier(report: &TierReport, best: Option<Tier>) -> Finding {
    let (state, mut lines) = match (&report.refused, report.tier, best) {
        (Some(why), _, Some(_)) => (State::Info, vec![format!("refused: {why}")]),
        (Some(why), _, None) => (State::Limited, vec![format!("refused: {why}")]),
        (None, Tier::Scan, None) => (
            State::Limited,
            vec!["all there is: changes are only found by looking at everything".to_string()],
        ),
        (None, Tier::Scan, Some(_)) => (State::Info, vec!["always possible".to_string()]),
        (None, tier, best) => {
            let passed = report.tested.iter().filter(|tested| tested.seen == Seen::Yes).count();
            let taken = if Some(tier) == best { "; taken by capture = auto" } else { "" };
            (State::Ok, vec![format!("passes its self-test, {passed} operations{taken}")])
        }
    };
    if report.tier != Tier::Scan {
        lines.extend(report.tested.iter().filter_map(|tested| match &tested.seen {
            Seen::Yes => None,
            Seen::No => Some(format!("not reported: {}", tested.operation)),
            Seen::NotTested(why) => Some(format!("not tested: {}: {why}", tested.operation)),
        }));
        lines.extend(report.missing.iter().map(|(hook, why)| format!("without the hook {hook}: {why}")));
        lines.extend(report.uncovered.iter().map(|what| format!("does not see: {what}")));
        let every = report.look_every.map(humantime::format_duration);
        lines.extend(every.map(|every| format!("for that, everything is looked at every {every}")));
    }
    Finding::new("capture", report.tier.name(), state, lines.join("\n"))
}
