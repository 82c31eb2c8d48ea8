//! The check of a guest's description of a task: afterwards every index in it is valid, and every count is bounded.

use std::collections::HashSet;

use wpool_abi::object::Kind;
use wpool_abi::{Field, TaskDescription, Type, TypeIndex, VariantData};

/// The largest number of parameters, fields or variants; hand-written code stays far below it.
const MAX_PARTS: usize = 1000;
/// The largest number of types in one description.
const MAX_TYPES: usize = 10_000;
/// The longest name of a type, a field or a variant, in bytes.
const MAX_NAME: usize = 1000;

/// Checks that a description is one of the task `name`, and that everything in it is in bounds.
pub(super) fn check(description: &TaskDescription, name: &str) -> Result<(), String> {
    let TaskDescription { name: own, params, returns, error, types, .. } = description;
    if own != name {
        return Err(format!("the description of `{name}` is one of `{own}`"));
    }
    if types.len() > MAX_TYPES {
        return Err(format!("task `{name}` has {} types, {MAX_TYPES} are allowed", types.len()));
    }
    let check = Check { task: name, types: types.len() };
    check.fields(params)?;
    check.index(*returns)?;
    error.map_or(Ok(()), |error| check.index(error))?;
    types.iter().try_for_each(|ty| check.ty(ty))
}

/// The check of one description.
struct Check<'a> {
    task: &'a str,
    /// The number of types.
    types: usize,
}

impl Check<'_> {
    fn index(&self, index: TypeIndex) -> Result<(), String> {
        if (index as usize) < self.types {
            return Ok(());
        }
        Err(format!("task `{}` refers to type {index} of {}", self.task, self.types))
    }

    fn ty(&self, ty: &Type) -> Result<(), String> {
        match ty {
            Type::Option(inner) | Type::Seq(inner) | Type::Array(inner, _) => self.index(*inner),
            Type::Map(key, value) => self.index(*key).and_then(|()| self.index(*value)),
            Type::Tuple(parts) => self.parts(parts),
            Type::Struct { name, fields } => self.name(name).and_then(|()| self.fields(fields)),
            Type::Enum { name, variants } => {
                self.name(name)?;
                self.names(variants.iter().map(|variant| variant.name.as_str()))?;
                variants.iter().try_for_each(|variant| match &variant.data {
                    VariantData::Unit => Ok(()),
                    VariantData::Newtype(inner) => self.index(*inner),
                    VariantData::Tuple(parts) => self.parts(parts),
                    VariantData::Struct(fields) => self.fields(fields),
                })
            }
            Type::Handle(handle) => {
                let expected = match handle.kind {
                    Kind::Dict => 2,
                    Kind::Queue | Kind::Pipe | Kind::List | Kind::Array | Kind::Value | Kind::SharedArray => {
                        1
                    }
                    _ => 0,
                };
                if handle.items.len() != expected {
                    let (kind, count) = (handle.kind.name(), handle.items.len());
                    return Err(format!("task `{}` has a {kind} of {count} types", self.task));
                }
                self.parts(&handle.items)
            }
            _ => Ok(()),
        }
    }

    fn parts(&self, parts: &[TypeIndex]) -> Result<(), String> {
        self.count(parts.len())?;
        parts.iter().try_for_each(|part| self.index(*part))
    }

    fn fields(&self, fields: &[Field]) -> Result<(), String> {
        self.names(fields.iter().map(|field| field.name.as_str()))?;
        fields.iter().try_for_each(|field| self.index(field.ty))
    }

    fn names<'n>(&self, names: impl ExactSizeIterator<Item = &'n str>) -> Result<(), String> {
        self.count(names.len())?;
        let mut seen = HashSet::new();
        for name in names {
            self.name(name)?;
            if !seen.insert(name) {
                return Err(format!("task `{}` has two parts called `{name}`", self.task));
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<(), String> {
        if name.len() <= MAX_NAME {
            Ok(())
        } else {
            Err(format!("task `{}` has a name of {} bytes", self.task, name.len()))
        }
    }

    fn count(&self, count: usize) -> Result<(), String> {
        if count <= MAX_PARTS {
            Ok(())
        } else {
            Err(format!("task `{}` has a type of {count} parts", self.task))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(types: Vec<Type>, name: &str) -> Result<(), String> {
        let (name_of_task, docs) = ("t".into(), String::new());
        let description =
            TaskDescription { name: name_of_task, docs, params: vec![], returns: 0, error: None, types };
        check(&description, name)
    }

    #[test]
    fn an_index_out_of_bounds_is_refused_wherever_it_stands() {
        let field = |ty| Field { name: "f".into(), docs: String::new(), ty };
        for ty in [
            Type::Option(1),
            Type::Seq(9),
            Type::Array(1, 2),
            Type::Map(0, 1),
            Type::Tuple(vec![0, 1]),
            Type::Struct { name: "S".into(), fields: vec![field(1)] },
        ] {
            let refused = checked(vec![ty.clone()], "t").unwrap_err();
            assert!(refused.contains("refers to type"), "{ty:?}: {refused}");
        }
        assert!(checked(vec![], "t").is_err());
        assert!(checked(vec![Type::Unit], "other").is_err());
        assert!(checked(vec![Type::Unit], "t").is_ok());
    }
}
