//! Rows of the composite types of the schema, as parameters of a statement.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Field, IsNull, Kind, ToSql, Type};

/// Declares a row of a composite type of the schema. The fields have the names, the order and the
/// types of those of the composite type; a statement with another type refuses the row.
macro_rules! composite {
    (struct $row:ident<$borrowed:lifetime> is $name:literal { $($field:ident: $value:ty,)* }) => {
        #[derive(Debug, Default)]
        pub(crate) struct $row<$borrowed> {
            $(pub(crate) $field: $value,)*
        }

        const _: () = {
            use std::error::Error;

            use bytes::{BufMut as _, BytesMut};
            use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
            use $crate::writing::composite::{fields, put};

            impl<$borrowed> ToSql for $row<$borrowed> {
                fn accepts(ty: &Type) -> bool {
                    let mut fields = fields(ty).iter();
                    ty.name() == $name
                        $(&& fields.next().is_some_and(|it| {
                            it.name() == stringify!($field)
                                && <$value as ToSql>::accepts(it.type_())
                        }))*
                        && fields.next().is_none()
                }

                fn to_sql(
                    &self,
                    ty: &Type,
                    out: &mut BytesMut,
                ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                    let fields = fields(ty);
                    out.put_i32(i32::try_from(fields.len())?);
                    let mut fields = fields.iter();
                    $(put(out, fields.next(), &self.$field)?;)*
                    Ok(IsNull::No)
                }

                to_sql_checked!();
            }
        };
    };
}

pub(crate) use composite;

/// Returns the fields of a composite type, and none of any other type.
pub(crate) fn fields(ty: &Type) -> &[Field] {
    match ty.kind() {
        Kind::Composite(fields) => fields,
        _ => &[],
    }
}

/// Writes a field of a row in PostgreSQL's binary format (`record_recv`): the type of the field,
/// the size of the value, or -1 for NULL, and the value.
pub(crate) fn put(
    out: &mut BytesMut,
    field: Option<&Field>,
    value: &impl ToSql,
) -> Result<(), Box<dyn Error + Sync + Send>> {
    let ty = field
        .ok_or("the composite type has too few fields")?
        .type_();
    out.put_u32(ty.oid());
    let begin = out.len();
    out.put_i32(-1);
    if let IsNull::No = value.to_sql(ty, out)? {
        let size = i32::try_from(out.len() - begin - size_of::<i32>())?;
        out[begin..begin + size_of::<i32>()].copy_from_slice(&size.to_be_bytes());
    }
    Ok(())
}
