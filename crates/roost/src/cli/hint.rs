//! What to do about a refusal, where the command line knows more than the server.

use control_api::problem::Kind;

use super::Api;
use super::api::Refused;

/// Names that are less alike than this are somebody else's.
const ALIKE: f64 = 0.8;

/// Adds a workspace with a similar name to a refusal for a name that does not exist.
pub async fn with_hint(error: anyhow::Error, workspace: Option<&str>) -> anyhow::Error {
    let (Some(Refused(problem)), Some(asked)) = (error.downcast_ref::<Refused>(), workspace) else {
        return error;
    };
    if problem.kind() != Some(Kind::NotFound) {
        return error;
    }
    let Some(names) = names().await else {
        return error;
    };
    // What was not found may be something of a workspace that is there.
    if names.iter().any(|name| name == asked) {
        return error;
    }
    let hint = match closest(asked, &names) {
        Some(name) => format!("Did you mean {name}?"),
        None => "`roost ls` lists yours.".into(),
    };
    anyhow::anyhow!("{} {hint}", problem.detail)
}

/// None: the server does not say.
async fn names() -> Option<Vec<String>> {
    let list = Api::saved().ok()?.workspaces("").await.ok()?;
    Some(
        list.iter()
            .map(|workspace| workspace.name.to_string())
            .collect(),
    )
}

fn closest<'a>(asked: &str, names: &'a [String]) -> Option<&'a String> {
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(asked, name), name))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_similar_name_is_proposed() {
        let names = ["shop", "shop-2", "blog"].map(String::from);
        let closest = |asked| closest(asked, &names).map(String::as_str);
        assert_eq!(closest("shpo"), Some("shop"));
        assert_eq!(closest("shop2"), Some("shop-2"));
        assert_eq!(closest("blgo"), Some("blog"));
        assert_eq!(closest("zebra"), None);
    }
}
