//! Checks of `[[class_map]]`, and of what ports say of classes.

use std::{collections::HashMap, sync::Arc};

use serde_spanned::Spanned;

use super::{Seen, check_count, listed, missing, unique_name};
use crate::{
    config::{
        model,
        reader::Field,
        report::{Code, Problem, Problems, printable},
        shape::{CLASS_MAP, DSCP_CLASS},
    },
    limits,
    qos::{
        classes::{Class, ClassMap, ClassRules, ClassSource},
        remark::MarkRules,
    },
};

/// The class maps of a file by their names.
#[derive(Debug, Default)]
pub(super) struct ClassMaps<'m> {
    names: Vec<&'m str>,
    known: HashMap<&'m str, Arc<ClassMap>>,
}

/// All class maps.
pub(super) fn class_maps<'m>(
    written: &'m [model::ClassMap],
    problems: &mut Problems,
) -> ClassMaps<'m> {
    check_count(
        "class_map",
        written.iter().map(|map| &map.span),
        limits::MAX_PORTS,
        problems,
    );
    let (mut maps, mut names) = (ClassMaps::default(), Seen::default());
    for map in written {
        let name = unique_name(&CLASS_MAP, &map.span, &map.name, &mut names, problems);
        let valid = check(map, problems);
        if let Some(name) = name {
            maps.names.push(name);
            maps.known.insert(name, Arc::new(valid));
        }
    }
    maps
}

impl ClassMaps<'_> {
    /// What a port believes about classes, and what it writes.
    pub(super) fn rules(
        &self,
        written: &model::Classes,
        problems: &mut Problems,
    ) -> (ClassRules, MarkRules) {
        let map = self.resolve(&written.class_map, problems);
        let classes = ClassRules {
            default: written
                .class
                .get()
                .copied()
                .map_or(Class::BEST_EFFORT, class_of),
            sources: sources(&written.class_from, problems),
            map: Arc::clone(&map),
        };
        let marks = sources(&written.mark, problems);
        let writes = |place| marks.contains(&Some(place));
        let marks = MarkRules {
            pcp: writes(ClassSource::Pcp),
            dscp: writes(ClassSource::Dscp),
            map,
        };
        if let Some(span) = written.class_map.span()
            && !written.class_from.is_written()
            && !written.mark.is_written()
        {
            let message = "`class_map` of a port that has neither `class_from` nor `mark`";
            let help = "say what is believed, or what is written, or remove it";
            problems.push(Problem::new(Code::Conflict, span, message).help(help));
        }
        (classes, marks)
    }

    fn resolve(&self, written: &Field<String>, problems: &mut Problems) -> Arc<ClassMap> {
        let Some(text) = written.spanned() else {
            return Arc::default();
        };
        let known = self.known.get(text.get_ref().as_str());
        if known.is_none() {
            let message = format!("there is no class map `{}`", printable(text.get_ref()));
            let mut help = problems.did_you_mean(text.get_ref(), self.names.iter().copied());
            help.push_str(&listed("class_map", &self.names));
            problems.push(Problem::new(Code::UnknownName, text.span(), message).help(help));
        }
        known.cloned().unwrap_or_default()
    }
}

/// A class of which the reader has seen that there is one.
pub(super) fn class_of(number: u32) -> Class {
    Class::of_bits(number as u8)
}

/// The places that a list names, in its order, none twice.
fn sources(
    written: &Field<Vec<Spanned<ClassSource>>>,
    problems: &mut Problems,
) -> [Option<ClassSource>; 2] {
    let mut sources = [None; 2];
    let mut seen = Seen::default();
    let mut places = sources.iter_mut();
    for source in written.get().into_iter().flatten() {
        match seen.insert(*source.get_ref(), source.span()) {
            Ok(()) => {
                if let Some(place) = places.next() {
                    *place = Some(*source.get_ref());
                }
            }
            Err(first) => {
                let message = "it is in the list already";
                let problem = Problem::new(Code::Duplicate, source.span(), message);
                let help = "remove one of the two";
                problems.push(problem.help(help).also(first, "here first"));
            }
        }
    }
    sources
}

fn check(written: &model::ClassMap, problems: &mut Problems) -> ClassMap {
    let mut map = ClassMap::default();
    if let Some(classes) = eight("from_pcp", "PCP", &written.from_pcp, problems) {
        map.from_pcp = classes.map(class_of);
    }
    if let Some(pcps) = eight("to_pcp", "class", &written.to_pcp, problems) {
        map.to_pcp = pcps.map(|pcp| pcp as u8);
    }
    if let Some(dscps) = eight("to_dscp", "class", &written.to_dscp, problems) {
        map.to_dscp = dscps.map(|dscp| dscp as u8);
    }
    let mut seen = Seen::default();
    for entry in &written.from_dscp {
        let keys = [
            ("dscp", entry.dscp.is_written()),
            ("class", entry.class.is_written()),
        ];
        for (key, is_written) in keys {
            if !is_written {
                missing(&DSCP_CLASS, &entry.span, key, None, problems);
            }
        }
        for dscp in entry.dscp.get().into_iter().flatten() {
            let number = *dscp.get_ref();
            match seen.insert(number, dscp.span()) {
                Ok(()) => {
                    if let Some(class) = entry.class.get() {
                        map.from_dscp[number as usize] = class_of(*class);
                    }
                }
                Err(first) => {
                    let message = format!("DSCP {number} has a class already");
                    let problem = Problem::new(Code::Duplicate, dscp.span(), message);
                    let help = "a DSCP means one class: remove one of the two";
                    problems.push(problem.help(help).also(first, "the first"));
                }
            }
        }
    }
    map
}

/// The numbers of a list that has one for each PCP, or each class.
fn eight(
    key: &str,
    of: &str,
    written: &Field<Vec<Spanned<u32>>>,
    problems: &mut Problems,
) -> Option<[u32; 8]> {
    let list = written.spanned()?;
    let numbers: Vec<u32> = list.get_ref().iter().map(|it| *it.get_ref()).collect();
    let eight = <[u32; 8]>::try_from(numbers).ok();
    if eight.is_none() {
        let message = format!("`{key}` needs a number for each {of} from 0 to 7: eight");
        let help = format!("write, for example, {}", CLASS_MAP.example(key));
        problems.push(Problem::new(Code::InvalidValue, list.span(), message).help(help));
    }
    eight
}
