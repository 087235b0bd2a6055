//! The list of rules that policy is measured with.

/// How many rules it has where their number is not what is measured.
pub const COUNT: usize = 1000;

/// An access control list of this name as the configuration has it: of so many rules, UDP to a
/// prefix and port passes by the last one and is decided about by none before it; what no rule is
/// about does not pass.
///
/// `destination` is none of 10.2.0.0 to 10.41.255.255, which the others are about, up to ten
/// thousand of them.
#[must_use]
pub fn list(name: &str, count: usize, destination: &str, port: u16) -> String {
    let mut file = format!("[[acl]]\nname = \"{name}\"\ndefault = \"deny\"\n");
    // So that frames with other ports are other flows.
    file += "[[acl.rule]]\naction = \"deny\"\nprotocol = \"udp\"\nsource_port = 7\n";
    for rule in 1..count - 1 {
        let action = if rule % 3 == 0 { "deny" } else { "allow" };
        let (high, low) = (rule / 250 + 2, rule % 250);
        file += &format!(
            "[[acl.rule]]\naction = \"{action}\"\nprotocol = \"udp\"\n\
             destination = \"10.{high}.{low}.0/24\"\ndestination_port = {}\n",
            1000 + rule
        );
    }
    file + &format!(
        "[[acl.rule]]\naction = \"allow\"\nprotocol = \"udp\"\n\
         destination = \"{destination}\"\ndestination_port = {port}\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_as_many_rules_as_it_says() {
        for count in [10, super::COUNT, 10_000] {
            let list = super::list("rules", count, "10.1.0.0/16", 53);
            assert_eq!(list.matches("[[acl.rule]]").count(), count);
        }
    }
}
