//! `retold system`: the system of the demonstration, drawn.

use crate::built_in;
use crate::failure::{Failure, Verdict};
use crate::output::Output;

/// Shows the system of the demonstration.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Picture(Picture),
}

/// Draws who follows whom, as text for Mermaid.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Picture {
    /// As text for Graphviz instead
    #[arg(long)]
    graphviz: bool,
}

const AFTER_HELP: &str = "\
Your own system draws itself: `System::to_mermaid` and `System::to_graphviz` in the library.

Examples:
  retold system picture                                    to be pasted into Markdown
  retold system picture --graphviz | dot -Tsvg > system.svg";

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    let Part::Picture(picture) = &arguments.part;
    let system = built_in::system();
    let (language, text) = match picture.graphviz {
        true => ("graphviz", system.to_graphviz()),
        false => ("mermaid", system.to_mermaid()),
    };
    match output.is_json() {
        true => output.object(&serde_json::json!({"language": language, "picture": text}))?,
        false => output.line(text.trim_end())?,
    }
    Ok(Verdict::Fine)
}
