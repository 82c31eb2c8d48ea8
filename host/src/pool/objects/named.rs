//! Shared objects by their names, for arguments in JSON: where a task takes a handle, a string names an object that
//! was declared. Nothing else in an input can make or reach one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use wpool_abi::object::{Call, Item, Kind, Number, ObjectError, Reply, Rights, Wait};
use wpool_abi::{HandleType, Type, TypeIndex};
use wpool_objects::Handle as _;

use super::handle::Handle;
use super::manager::Manager;
use crate::guest::json::{self, JsonError, ValueError};
use crate::guest::{Signature, Types, same_type};
use crate::manager::{ObjectInit, Stored};
use crate::pool::task::RawArguments;

/// What a named object is made as. The types of what it holds are those of the first parameter that it is passed to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ObjectSpec {
    /// A queue in which so many values can wait; without a number, as many as fit in 64 MiB. Zero counts as one.
    Queue(Option<u64>),
    /// An empty dictionary.
    Dict,
    /// An empty list.
    List,
    /// One value, which is at first what this JSON says.
    Value(String),
    /// An event that is not set.
    Event,
    /// A lock.
    Lock,
    /// A semaphore that so many can hold.
    Semaphore(u64),
    /// A barrier that so many pass together. Zero counts as one.
    Barrier(u32),
    /// So many zeros in shared memory.
    SharedArray(usize),
    /// These bytes in shared memory, to be read only.
    Broadcast(Vec<u8>),
}

impl ObjectSpec {
    fn kind(&self) -> Kind {
        match self {
            ObjectSpec::Queue(_) => Kind::Queue,
            ObjectSpec::Dict => Kind::Dict,
            ObjectSpec::List => Kind::List,
            ObjectSpec::Value(_) => Kind::Value,
            ObjectSpec::Event => Kind::Event,
            ObjectSpec::Lock => Kind::Lock,
            ObjectSpec::Semaphore(_) => Kind::Semaphore,
            ObjectSpec::Barrier(_) => Kind::Barrier,
            ObjectSpec::SharedArray(_) | ObjectSpec::Broadcast(_) => Kind::SharedArray,
        }
    }

    /// The object, if it can be made before anybody knows what it holds.
    fn shape(&self) -> Option<ObjectInit> {
        match *self {
            ObjectSpec::Queue(capacity) => {
                Some(ObjectInit::Queue { capacity: capacity.map(|capacity| capacity.max(1)), requeue: false })
            }
            ObjectSpec::Dict => Some(ObjectInit::Dict),
            ObjectSpec::List => Some(ObjectInit::List),
            ObjectSpec::Event => Some(ObjectInit::Event),
            ObjectSpec::Lock => Some(ObjectInit::Lock { reentrant: false }),
            ObjectSpec::Semaphore(count) => Some(ObjectInit::Semaphore { count, bounded: false }),
            ObjectSpec::Barrier(parties) => {
                Some(ObjectInit::Barrier { parties: parties.max(1), acts: false })
            }
            ObjectSpec::Value(_) | ObjectSpec::SharedArray(_) | ObjectSpec::Broadcast(_) => None,
        }
    }
}

/// Why an object cannot be declared, or what it holds not be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// There is one of that name.
    #[error("`{0}` is declared twice")]
    Twice(String),
    /// There is none.
    #[error("no object is named `{0}`")]
    Unknown(String),
    /// It is no queue.
    #[error("`{name}` is no queue, its kind is {kind}")]
    NoQueue {
        /// Its name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// An object of that kind does not hold anything that JSON could tell.
    #[error("`{name}` holds no values, its kind is {kind}")]
    NoValues {
        /// Its name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// The object did not answer.
    #[error("`{name}` cannot be read")]
    Object {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        error: ObjectError,
    },
    /// What it holds is not what it was passed on as.
    #[error("`{name}` holds what is not of its type")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        error: ValueError,
    },
}

/// Objects that arguments in JSON can name. Declared first, made by [`attach`](Self::attach).
///
/// ```no_run
/// use wpool::{NamedObjects, ObjectSpec};
/// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
/// let objects = NamedObjects::default();
/// objects.declare("squares", ObjectSpec::Queue(Some(100)))?;
/// objects.attach(&pool.manager());
/// let task = pool.raw_task("square_into")?;
/// let arguments = objects.arguments(task.signature(), br#"[3, "squares"]"#)?;
/// task.submit(arguments)?.completed();
/// assert_eq!(objects.to_json("squares")?, "[9]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NamedObjects {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// A name was asked for that there is not.
    missed: bool,
    manager: Option<Manager>,
    objects: BTreeMap<String, Named>,
}

#[derive(Debug)]
struct Named {
    spec: ObjectSpec,
    handle: Option<Handle>,
    /// What it holds, as the first parameter says that it was passed to.
    holds: Option<Holds>,
}

#[derive(Debug, Clone)]
struct Holds {
    types: Arc<Types>,
    items: Vec<TypeIndex>,
    /// All of it together.
    whole: TypeIndex,
}

impl NamedObjects {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Declares an object.
    ///
    /// # Errors
    /// [`NamedError::Twice`] if there is one of that name.
    pub fn declare(&self, name: &str, spec: ObjectSpec) -> Result<(), NamedError> {
        let mut inner = self.lock();
        if inner.objects.contains_key(name) {
            return Err(NamedError::Twice(name.to_owned()));
        }
        let handle = inner.manager.as_ref().and_then(|manager| Some(manager.make(spec.shape()?)));
        inner.objects.insert(name.to_owned(), Named { spec, handle, holds: None });
        Ok(())
    }

    /// Makes the objects of a pool. Attached to another one they are made anew.
    pub fn attach(&self, manager: &Manager) {
        let mut inner = self.lock();
        for named in inner.objects.values_mut() {
            named.handle = named.spec.shape().map(|shape| manager.make(shape));
        }
        inner.manager = Some(manager.clone());
    }

    /// Checks the arguments of one call, before there is a pool.
    ///
    /// # Errors
    /// As [`Signature::arguments_from_json`]; for a name that was not declared, or an object of another type, too.
    pub fn check(&self, signature: &Signature, text: &[u8]) -> Result<(), JsonError> {
        let inner = RefCell::new(self.lock());
        signature
            .append_arguments(text, &mut Vec::new(), &|name, handle| {
                inner.borrow_mut().named(name, handle, signature.types()).map(|_| 0)
            })
            .map_err(|error| inner.borrow_mut().explained(error))
    }

    /// Reads the arguments of one call.
    ///
    /// # Errors
    /// As [`check`](Self::check), if no pool is attached, or if the object cannot be made, as when the system has no
    /// memory for it.
    pub fn arguments(&self, signature: &Signature, text: &[u8]) -> Result<RawArguments, JsonError> {
        let (inner, handles) = (RefCell::new(self.lock()), RefCell::new(Vec::new()));
        let mut bytes = Vec::new();
        signature
            .append_arguments(text, &mut bytes, &|name, wanted| {
                let handle = inner.borrow_mut().handle(name, wanted, signature.types())?;
                let mut handles = handles.borrow_mut();
                handles.push(handle.narrowed(wanted.rights));
                u32::try_from(handles.len() - 1).map_err(|error| error.to_string())
            })
            .map_err(|error| inner.borrow_mut().explained(error))?;
        Ok(RawArguments::new(bytes, handles.into_inner()))
    }

    /// What an object holds, in JSON: an array, an object, a value. Of a queue that is what waits there, and it is
    /// taken out.
    ///
    /// # Errors
    /// If there is none of that name, it is one that holds nothing, the pool is gone, or a value is not of the object's
    /// type or holds handles.
    pub fn to_json(&self, name: &str) -> Result<String, NamedError> {
        self.check_holds(name)?;
        let (handle, holds) = self.known(name)?;
        let (Some(handle), Some(holds)) = (handle, holds) else { return self.untouched(name) };
        let object = |error| NamedError::Object { name: name.to_owned(), error };
        let bytes = contents(&handle, &holds).map_err(object)?;
        let mut out = Vec::new();
        json::value_to_json(&holds.types, holds.whole, &bytes, &mut out)
            .map_err(|error| NamedError::Value { name: name.to_owned(), error })?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Waits for values in a queue, takes them out, and appends each in JSON and a line's end; one that is not of the
    /// queue's type is a line `{"$error": …}`. False when the queue is closed and empty, or its pool is gone, or no pool
    /// is attached.
    ///
    /// # Errors
    /// If there is no queue of that name.
    pub fn drain(&self, name: &str, out: &mut Vec<u8>) -> Result<bool, NamedError> {
        /// So many values are taken together.
        const MANY: u32 = 1000;
        self.check_queue(name)?;
        let (Some(handle), _) = self.known(name)? else { return Ok(false) };
        let items = match handle.call(Call::Get(MANY), Wait::Forever) {
            Ok(Reply::Items(items, _)) => items,
            Ok(_) => Vec::new(),
            Err(ObjectError::Closed | ObjectError::PoolClosed) => return Ok(false),
            Err(error) => return Err(NamedError::Object { name: name.to_owned(), error }),
        };
        // Whoever has put something in was given the queue, and so its type is known.
        let (_, Some(Holds { types, items: held, .. })) = self.known(name)? else { return Ok(true) };
        for item in items {
            let start = out.len();
            if let Err(error) = json::value_to_json(&types, held[0], &item.bytes, out) {
                out.truncate(start);
                let error = serde_json::json!({ "$error": error.to_string() });
                out.extend_from_slice(error.to_string().as_bytes());
            }
            out.push(b'\n');
        }
        Ok(true)
    }

    /// Closes a queue: nothing more is put in, and [`drain`](Self::drain) comes to its end.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn close(&self, name: &str) -> Result<(), NamedError> {
        let (Some(handle), _) = self.known(name)? else { return Ok(()) };
        match handle.post(Call::Close) {
            Ok(()) | Err(ObjectError::PoolClosed) => Ok(()),
            Err(error) => Err(NamedError::Object { name: name.to_owned(), error }),
        }
    }

    /// Checks that [`drain`](Self::drain) makes sense.
    ///
    /// # Errors
    /// If there is no object of that name, or it is no queue.
    pub fn check_queue(&self, name: &str) -> Result<(), NamedError> {
        match self.spec(name)? {
            ObjectSpec::Queue(_) => Ok(()),
            spec => Err(NamedError::NoQueue { name: name.to_owned(), kind: spec.kind().name() }),
        }
    }

    /// Checks that [`to_json`](Self::to_json) makes sense.
    ///
    /// # Errors
    /// If there is no object of that name, or it holds nothing.
    pub fn check_holds(&self, name: &str) -> Result<(), NamedError> {
        match self.spec(name)? {
            ObjectSpec::Queue(_)
            | ObjectSpec::Dict
            | ObjectSpec::List
            | ObjectSpec::Value(_)
            | ObjectSpec::SharedArray(_) => Ok(()),
            spec => Err(NamedError::NoValues { name: name.to_owned(), kind: spec.kind().name() }),
        }
    }

    fn spec(&self, name: &str) -> Result<ObjectSpec, NamedError> {
        let inner = self.lock();
        let named = inner.objects.get(name).ok_or_else(|| NamedError::Unknown(name.to_owned()))?;
        Ok(named.spec.clone())
    }

    fn known(&self, name: &str) -> Result<(Option<Handle>, Option<Holds>), NamedError> {
        let inner = self.lock();
        let named = inner.objects.get(name).ok_or_else(|| NamedError::Unknown(name.to_owned()))?;
        Ok((named.handle.clone(), named.holds.clone()))
    }

    /// What an object holds that was never passed on.
    fn untouched(&self, name: &str) -> Result<String, NamedError> {
        Ok(match self.spec(name)? {
            ObjectSpec::Dict => "{}".to_owned(),
            ObjectSpec::Value(text) => text,
            ObjectSpec::SharedArray(len) => format!("[{}]", vec!["0"; len].join(",")),
            _ => "[]".to_owned(),
        })
    }
}

impl Inner {
    /// An error of arguments, with what is known of it here.
    fn explained(&mut self, error: JsonError) -> JsonError {
        JsonError { unknown_object: std::mem::take(&mut self.missed), ..error }
    }

    /// The object that is meant, if it is one of the type that is wanted.
    fn named(&mut self, name: &str, wanted: &HandleType, types: &Types) -> Result<&mut Named, String> {
        let shown = || types.name(&Type::Handle(wanted.clone()));
        let Some(named) = self.objects.get_mut(name) else {
            self.missed = true;
            return Err(format!("no {} is named `{name}`", shown()));
        };
        if named.spec.kind() != wanted.kind {
            return Err(format!("expected {}, got `{name}`, a {}", shown(), named.spec.kind().name()));
        }
        if let ObjectSpec::Broadcast(_) = named.spec {
            let bytes = wanted.items.first().map(|item| types.get(*item)) == Some(&Type::U8);
            if !bytes || wanted.rights != Rights::READ {
                return Err(format!("expected {}, got `{name}`, bytes to be read only", shown()));
            }
        }
        let Some(holds) = &named.holds else {
            if let (ObjectSpec::Value(text), Some(item)) = (&named.spec, wanted.items.first()) {
                json::value_from_json(types, *item, text.as_bytes(), &mut Vec::new())
                    .map_err(|error| format!("the first value of `{name}`: {error}"))?;
            }
            named.holds = Some(Holds::new(wanted, types));
            return Ok(named);
        };
        let same = holds.items.len() == wanted.items.len()
            && holds.items.iter().zip(&wanted.items).all(|(a, b)| same_type(&holds.types, *a, types, *b));
        if same { Ok(named) } else { Err(format!("expected {}, but `{name}` holds other values", shown())) }
    }

    /// The same, made if it was not.
    fn handle(&mut self, name: &str, wanted: &HandleType, types: &Types) -> Result<Handle, String> {
        let manager = self.manager.clone().ok_or("no pool is attached")?;
        let named = self.named(name, wanted, types)?;
        if let Some(handle) = &named.handle {
            return Ok(handle.clone());
        }
        let item = wanted.items.first().copied().unwrap_or_default();
        let made = match &named.spec {
            ObjectSpec::Value(text) => {
                let mut bytes = Vec::new();
                json::value_from_json(types, item, text.as_bytes(), &mut bytes)
                    .map_err(|error| format!("the first value of `{name}`: {error}"))?;
                Ok(manager.make(ObjectInit::Value { value: Stored { bytes, handles: Vec::new() } }))
            }
            ObjectSpec::SharedArray(len) => match number_of(types.get(item)) {
                Some(form) => manager.make_array(form, *len),
                None => Err(ObjectError::WrongType),
            },
            ObjectSpec::Broadcast(bytes) => manager.make_constant(Number::U8, bytes),
            // These were made when the pool was attached.
            _ => Err(ObjectError::BadHandle),
        };
        let made = made.map_err(|error| format!("`{name}` cannot be made: {error}"))?;
        named.handle = Some(made.clone());
        Ok(made)
    }
}

impl Holds {
    fn new(wanted: &HandleType, types: &Types) -> Self {
        let items = wanted.items.clone();
        let whole = match (wanted.kind, items.as_slice()) {
            (Kind::Dict, &[key, value]) => Some(Type::Map(key, value)),
            (Kind::Queue | Kind::List | Kind::SharedArray, &[item]) => Some(Type::Seq(item)),
            _ => None,
        };
        let (types, whole) = match whole {
            Some(whole) => types.with(whole),
            None => (types.clone(), items.first().copied().unwrap_or_default()),
        };
        Self { types: Arc::new(types), items, whole }
    }
}

/// What an object holds, as a whole, in postcard.
fn contents(handle: &Handle, holds: &Holds) -> Result<Vec<u8>, ObjectError> {
    if let Ok(size) = handle.shared_size() {
        let form = number_of(holds.types.get(holds.items[0])).ok_or(ObjectError::WrongType)?;
        let mut numbers = vec![0; usize::try_from(size).map_err(|_| ObjectError::WrongType)?];
        handle.shared_read(0, &mut numbers)?;
        return Ok(json::numbers_in_postcard(form, &numbers));
    }
    let parts = match handle.call(Call::All, Wait::NonBlocking) {
        Ok(Reply::Items(items, _)) => items.into_iter().map(|item| vec![item.bytes]).collect(),
        Ok(Reply::Entries(entries)) => entries.into_iter().map(|(key, item)| vec![key, item.bytes]).collect(),
        Err(ObjectError::WrongKind) => waiting(handle)?.into_iter().map(|item| vec![item.bytes]).collect(),
        Ok(_) => Vec::new(),
        Err(error) => return Err(error),
    };
    let parts: Vec<Vec<Vec<u8>>> = parts;
    let mut bytes = Vec::new();
    if matches!(holds.types.get(holds.whole), Type::Map(..) | Type::Seq(_)) && holds.whole != holds.items[0] {
        json::push_len(&mut bytes, parts.len());
    }
    bytes.extend(parts.into_iter().flatten().flatten());
    Ok(bytes)
}

/// Takes everything out of a queue that is there now.
fn waiting(handle: &Handle) -> Result<Vec<Item<Handle>>, ObjectError> {
    match handle.call(Call::Get(u32::MAX), Wait::NonBlocking) {
        Ok(Reply::Items(items, _)) => Ok(items),
        Ok(_) | Err(ObjectError::Empty | ObjectError::Closed) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn number_of(ty: &Type) -> Option<Number> {
    Some(match ty {
        Type::U8 => Number::U8,
        Type::I8 => Number::I8,
        Type::U16 => Number::U16,
        Type::I16 => Number::I16,
        Type::U32 => Number::U32,
        Type::I32 => Number::I32,
        Type::U64 => Number::U64,
        Type::I64 => Number::I64,
        Type::F32 => Number::F32,
        Type::F64 => Number::F64,
        _ => return None,
    })
}
