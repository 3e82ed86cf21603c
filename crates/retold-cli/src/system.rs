//! `retold system`: shows the status of the systems on a store, retires units, and draws the
//! demonstration's system.

mod retire;
mod status;

use serde::Serialize;

use crate::built_in;
use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, Report};

/// Show the status of the systems on a store, retire a unit, or draw the demonstration's system.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct SystemArguments {
    #[command(subcommand)]
    part: SystemPart,
}

#[derive(Debug, clap::Subcommand)]
enum SystemPart {
    Status(status::SystemStatusArguments),
    Retire(retire::Retire),
    Picture(Picture),
}

/// Draw the demonstration's system: its applications and followers, as text for Mermaid.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Picture {
    /// Print text for Graphviz instead
    #[arg(long)]
    graphviz: bool,
}

const AFTER_HELP: &str = "\
To draw your own system, call `System::to_mermaid` or `System::to_graphviz` of the library.

Examples:
  retold system picture
  retold system picture --graphviz | dot -Tsvg > system.svg";

pub(crate) async fn run(
    arguments: SystemArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    match arguments.part {
        SystemPart::Status(arguments) => status::run(arguments, output).await,
        SystemPart::Retire(retire) => retire::run(retire, output).await,
        SystemPart::Picture(picture) => draw(&picture, output),
    }
}

fn draw(picture: &Picture, output: &mut Output) -> Result<CommandVerdict, CommandFailure> {
    let system = built_in::system();
    let (language, text) = match picture.graphviz {
        true => ("graphviz", system.to_graphviz()),
        false => ("mermaid", system.to_mermaid()),
    };
    output.report(&Drawing {
        language,
        picture: text,
    })?;
    Ok(CommandVerdict::Fine)
}

#[derive(Debug, Serialize)]
struct Drawing {
    language: &'static str,
    picture: String,
}

impl Report for Drawing {
    fn lines(&self) -> Vec<String> {
        vec![self.picture.trim_end().to_owned()]
    }
}
