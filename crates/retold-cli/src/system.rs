//! `retold system`: the system of the demonstration, drawn; and how systems on a store are getting on.

mod status;

use crate::built_in;
use crate::failure::{Failure, Verdict};
use crate::output::Output;

/// Shows how the systems on a store are getting on, or draws the system of the demonstration.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Status(status::Arguments),
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

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    match arguments.part {
        Part::Status(arguments) => status::run(arguments, output).await,
        Part::Picture(picture) => draw(&picture, output),
    }
}

fn draw(picture: &Picture, output: &mut Output) -> Result<Verdict, Failure> {
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
