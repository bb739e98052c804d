//! The options of the table as arguments of a command: one [`clap::Arg`] for each line of it.

use super::UsageError;
use crate::environment::Environment;
use crate::options::table::{OPTIONS, OptionDef, Status, Topic};
use crate::options::{Options, Origin, RootsWanted, Setting};
use crate::profile;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

const ROOTS: &str = "roots";

/// What the command line of `sync` or `live` says: settings, unread.
pub(super) struct OptionsArgs {
    settings: Vec<Setting>,
}

impl clap::Args for OptionsArgs {
    fn augment_args(command: Command) -> Command {
        let roots = Arg::new(ROOTS)
            .value_name("ROOT")
            .num_args(0..)
            .value_parser(value_parser!(OsString))
            .help("path, ssh://[user@]host[:port]/path/from/home, ssh://[user@]host[:port]//absolute/path or [user@]host:path");
        command.arg(roots).args(OPTIONS.iter().map(arg)).after_help(
            "Unison's spelling works as well: -batch -times -perms -1 -ignore 'Name *.tmp'. \
             A bool takes =false. Options of a profile come first, those given here win.",
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(def: &'static OptionDef) -> Arg {
    let heading = match def.topic {
        Topic::Basic => "Unison's basic options",
        Topic::Advanced => "Unison's advanced options",
        Topic::Own => "Options beyond Unison's",
    };
    let arg = Arg::new(def.name)
        .long(def.name)
        .action(ArgAction::Append)
        .value_parser(value_parser!(OsString))
        .help(def.help)
        .help_heading(heading)
        .hide(def.status != Status::Works);
    if def.value.is_empty() {
        return arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    arg.value_name(def.value)
}

impl clap::FromArgMatches for OptionsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<OptionsArgs, clap::Error> {
        let setting = |def: &'static OptionDef, value: &OsString| Setting {
            def,
            value: value.as_bytes().to_vec(),
            origin: Origin::CommandLine,
        };
        let given = |id: &str| matches.get_many::<OsString>(id).into_iter().flatten();
        let root = OPTIONS.iter().find(|def| def.name == "root").expect("the table has root");
        let options = OPTIONS.iter().flat_map(|def| given(def.name).map(move |value| setting(def, value)));
        let roots = given(ROOTS).map(|value| setting(root, value));
        Ok(OptionsArgs { settings: options.chain(roots).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl OptionsArgs {
    /// Reads the profiles that are named, puts what the command line says behind them, and gives it its meaning.
    pub(super) fn options(
        self,
        wanted: RootsWanted,
        environment: &Environment,
    ) -> Result<Options, UsageError> {
        let unison_dir = environment.unison_dir.as_deref();
        let mut settings = Vec::new();
        let mut of_command_line = Vec::new();
        for setting in self.settings {
            let file = || OsString::from_vec(setting.value.clone());
            match setting.def.name {
                "profile" | "include" => settings.extend(profile::load(OsStr::new(&file()), unison_dir)?),
                "source" => settings.extend(profile::source(OsStr::new(&file()), unison_dir)?),
                _ => of_command_line.push(setting),
            }
        }
        settings.extend(of_command_line);
        Ok(Options::from_settings(&settings, wanted, environment)?)
    }
}
