//! Docs of dags and tasks: the little of Markdown that makes plain text readable. Nothing in it becomes a tag of its own.

use super::show::Html;

/// Headings, lists, code and paragraphs; all else is text.
pub fn render(text: &str) -> Html {
    let mut html = Html::new();
    let mut paragraph = Vec::new();
    let mut items: Vec<String> = Vec::new();
    let mut code: Option<Vec<&str>> = None;
    for line in text.lines().chain([""]) {
        if let Some(lines) = &mut code {
            if line.trim_start().starts_with("```") {
                let text = code.take().unwrap_or_default().join("\n");
                html.add(|html| html.markup("<pre>").text(text).markup("</pre>"));
            } else {
                lines.push(line);
            }
            continue;
        }
        let trimmed = line.trim();
        let item = trimmed.strip_prefix("- ").or_else(|| trimmed.strip_prefix("* "));
        let heading = trimmed.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim());
        let fence = trimmed.starts_with("```");
        if item.is_none() && !items.is_empty() && (trimmed.is_empty() || heading.is_some() || fence) {
            html.add(|html| html.markup("<ul>"));
            for item in items.drain(..) {
                html.add(|html| spans(html.markup("<li>"), &item).markup("</li>"));
            }
            html.add(|html| html.markup("</ul>"));
        }
        if !paragraph.is_empty() && (trimmed.is_empty() || heading.is_some() || fence || item.is_some()) {
            let text = std::mem::take(&mut paragraph).join(" ");
            html.add(|html| spans(html.markup("<p>"), &text).markup("</p>"));
        }
        match (item, heading) {
            _ if fence => code = Some(Vec::new()),
            (Some(item), _) => items.push(item.to_owned()),
            (None, Some(heading)) => html.add(|html| html.markup("<h3>").text(heading).markup("</h3>")),
            (None, None) if trimmed.is_empty() => {}
            (None, None) => match items.last_mut() {
                Some(item) => {
                    item.push(' ');
                    item.push_str(trimmed);
                }
                None => paragraph.push(trimmed),
            },
        }
    }
    if let Some(lines) = code {
        html.add(|html| html.markup("<pre>").text(lines.join("\n")).markup("</pre>"));
    }
    if html.is_empty() { html } else { Html::new().markup("<div class=\"doc\">").markup(html).markup("</div>") }
}

/// One line in which what stands between backticks is code.
pub fn line(text: &str) -> Html {
    if text.matches('`').count().is_multiple_of(2) { spans(Html::new(), text) } else { Html::new().text(text) }
}

/// Text in which what stands between backticks is code.
fn spans(mut html: Html, text: &str) -> Html {
    for (at, part) in text.split('`').enumerate() {
        html = if at % 2 == 1 { html.markup("<code>").text(part).markup("</code>") } else { html.text(part) };
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_little_markdown_is_shown_and_the_rest_is_text() {
        let shown = render("# Title\nOne `x < 1`\ntwo\n\n- a\n- <b>\n\n```\nlet y;\n```").to_string();
        assert_eq!(
            shown,
            "<div class=\"doc\"><h3>Title</h3><p>One <code>x &lt; 1</code> two</p><ul><li>a</li><li>&lt;b&gt;</li></ul>\
             <pre>let y;</pre></div>"
        );
        assert!(render("").is_empty());
        assert_eq!(line("`a<` did").to_string(), "<code>a&lt;</code> did");
        assert_eq!(line("one ` only").to_string(), "one ` only");
        assert_eq!(render("```\nopen").to_string(), "<div class=\"doc\"><pre>open\n</pre></div>");
    }
}
