//! A guest as the parent sees it: a module that it never runs, a description that it has checked, and images that only
//! workers map.

mod bindings;
mod cache;
mod compile;
mod definitions;
mod describe;
mod description;
#[expect(
    clippy::module_inception,
    reason = "the file of the type `Guest`, in the folder of all that it needs"
)]
mod guest;
mod identity;
mod image;
mod image_store;
mod initialize;
pub(crate) mod json;
mod json_schema;
mod loader;
mod nearest;
mod one_shot;
mod outline;
mod signature;
mod source;
mod start;
mod types;

pub use self::cache::{Cache, CacheEntry};
pub use self::definitions::{FieldDefinition, TypeBody, TypeDefinition, VariantBody, VariantDefinition};
pub use self::guest::Guest;
pub use self::identity::Identity;
pub use self::json::{JsonError, ValueError};
pub use self::loader::Loader;
pub use self::signature::Signature;
pub(crate) use self::signature::fits_parameters;
pub(crate) use self::start::Start;
pub(crate) use self::types::{Types, described, same_type};
