"""What people do in Planfix's own pages: the simulated account's human side, beside the API of `planfix.py`.

Arguments and results are JSON-able: the control endpoint of the simulator's HTTP server calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .planfix_conditions import (
    HasCustomValue,
    HasTemplate,
    InGroup,
    OneOf,
    Supervised,
    condition_as_json,
    condition_from_json,
)
from .planfix_json import CONTACT_FIELDS, Fields, View, contact_json
from .planfix_options import PlanfixOptions
from .planfix_store import (
    Access,
    Contact,
    CustomField,
    Employee,
    PlanfixStore,
    SavedFilter,
    Template,
    Token,
)
from .planfix_writes import read_request
from .seed import planfix_contacts


class PlanfixHands:
    """Human actions over a store; every edit counts as modified now, as in Planfix."""

    CONTROL: frozenset[str] = frozenset(
        {
            "add_contact",
            "edit_contact",
            "trash_contact",
            "restore_contact",
            "merge_contacts",
            "touch_all",
            "add_filter",
            "rename_filter",
            "delete_filter",
            "share_filter",
            "unshare_filter",
            "set_filter_owner",
            "set_filter_condition",
            "set_filter_members",
            "put_into_filter",
            "remove_from_filter",
            "set_visible",
            "set_editable",
            "set_access_rule",
            "add_employee",
            "set_employee_status",
            "add_token",
            "add_group",
            "add_template",
            "add_custom_field",
            "set_plan",
            "freeze_account",
            "queue_next_updates",
            "set_options",
            "seed",
            "dump",
            "statistics",
            "reset_counters",
        }
    )

    def __init__(self, clock: Callable[[], float], options: PlanfixOptions) -> None:
        self.clock = clock
        self.options = options
        self.store = PlanfixStore(list_trashed=options.list_trashed, trash_keeps_emails=options.trash_keeps_emails)
        self.add_template("Person", is_company=False)
        self.add_template("Company", is_company=True)
        robot = self.add_employee("Robot", role="Robot", timezone=options.robot_timezone)
        self.robot = robot
        self.add_token(options.token, robot)

    # -- contacts ------------------------------------------------------------------------------------------

    def add_contact(self, fields: Mapping[str, object]) -> int:
        """A contact from ContactRequest's fields; its number."""
        return self._insert(fields, self.clock()).id

    def edit_contact(self, contact: int, fields: Mapping[str, object]) -> None:
        """Sets ContactRequest's fields. Raises ValueError where Planfix's page would refuse."""
        found = self._contact(contact)
        change = read_request(self.store, self.options, found, fields, by_api=False, creating=False)
        if change.refused:
            raise ValueError(f"Planfix does not take {', '.join(change.refused)}")
        with self.store.changing(found, self.clock()):
            change.apply(found)

    def trash_contact(self, contact: int) -> None:
        found = self._contact(contact)
        with self.store.changing(found, self.clock()):
            found.trashed = True

    def restore_contact(self, contact: int) -> None:
        found = self._contact(contact)
        if found.merged_into is not None:
            raise ValueError(f"contact {contact} was merged and cannot be restored")
        with self.store.changing(found, self.clock()):
            found.trashed = False

    def merge_contacts(self, survivor: int, loser: int) -> None:
        """The loser disappears; its phones and e-mails go to the survivor."""
        stays, goes = self._contact(survivor), self._contact(loser)
        with self.store.changing(goes, self.clock()):
            goes.trashed, goes.merged_into = True, stays.id
        with self.store.changing(stays, self.clock()):
            known = set(stays.emails())
            extra = [address for address in (goes.texts["email"], *goes.additional_emails) if address]
            fresh = [address for address in extra if address.casefold() not in known]
            if fresh and not stays.texts["email"]:
                stays.texts["email"] = fresh.pop(0)
            stays.additional_emails = (*stays.additional_emails, *fresh)
            numbers = {phone.number for phone in stays.phones}
            stays.phones = (*stays.phones, *(phone for phone in goes.phones if phone.number not in numbers))

    def touch_all(self, contacts: Sequence[int] | None = None) -> int:
        """Moves `dateOfLastUpdate` without changing anything, as night jobs do; how many were touched."""
        numbers = list(self.store.contacts) if contacts is None else list(contacts)
        for number in numbers:
            with self.store.changing(self.store.contacts[number], self.clock()):
                pass
        return len(numbers)

    # -- filters -------------------------------------------------------------------------------------------

    def add_filter(
        self,
        name: str,
        owner: int,
        condition: Mapping[str, object],
        *,
        shared_with: Sequence[int] | None = None,
    ) -> str:
        """A saved list; ``condition`` as in `condition_from_json`; ``shared_with`` None: with everybody."""
        self._employee(owner)
        identity = str(self.store.next_filter)
        self.store.next_filter += 1
        audience = None if shared_with is None else set(shared_with)
        saved = SavedFilter(identity, name, owner, condition_from_json(condition), audience)
        self.store.filters[identity] = saved
        return identity

    def rename_filter(self, filter_id: str, name: str) -> None:
        self._filter(filter_id).name = name

    def delete_filter(self, filter_id: str) -> None:
        del self.store.filters[self._filter(filter_id).id]
        self.store.forget_members(filter_id)

    def share_filter(self, filter_id: str, employees: Sequence[int] | None = None) -> None:
        self._filter(filter_id).shared_with = None if employees is None else set(employees)

    def unshare_filter(self, filter_id: str) -> None:
        """Only its owner finds it from now on."""
        self._filter(filter_id).shared_with = set()

    def set_filter_owner(self, filter_id: str, owner: int) -> None:
        self._filter(filter_id).owner = self._employee(owner).id

    def set_filter_condition(self, filter_id: str, condition: Mapping[str, object]) -> None:
        self._filter(filter_id).condition = condition_from_json(condition)
        self.store.forget_members(filter_id)

    def set_filter_members(self, filter_id: str, contacts: Iterable[int]) -> None:
        """Makes the filter's condition exactly this set; no contact counts as modified."""
        self._filter(filter_id).condition = OneOf({self._contact(number).id for number in contacts})
        self.store.forget_members(filter_id)

    def put_into_filter(self, filter_id: str, contact: int) -> None:
        """Changes the contact (or the explicit set) so that the filter's condition holds."""
        self._place(filter_id, contact, inside=True)

    def remove_from_filter(self, filter_id: str, contact: int) -> None:
        self._place(filter_id, contact, inside=False)

    def _place(self, filter_id: str, number: int, *, inside: bool) -> None:
        saved, contact = self._filter(filter_id), self._contact(number)
        match saved.condition:
            case OneOf():
                self.store.put_into_set(saved, [number], inside=inside)
            case InGroup(group):
                with self.store.changing(contact, self.clock()):
                    contact.group = group if inside else None
            case HasCustomValue(custom, value):
                with self.store.changing(contact, self.clock()):
                    if inside:
                        contact.custom[custom] = value
                    else:
                        contact.custom.pop(custom, None)
            case Supervised(user):
                others = tuple(each for each in contact.supervisors if each != f"user:{user}")
                with self.store.changing(contact, self.clock()):
                    contact.supervisors = (*others, f"user:{user}") if inside else others
            case HasTemplate(template):
                other = next(
                    each.id
                    for each in self.store.templates.values()
                    if (each.id == template) is inside and each.is_company == contact.is_company
                )
                with self.store.changing(contact, self.clock()):
                    contact.template = other
            case _:
                raise ValueError(f"filter {filter_id} selects by something that a contact cannot be moved by")

    # -- people and rights ---------------------------------------------------------------------------------

    def add_employee(
        self,
        name: str,
        *,
        lastname: str = "",
        email: str = "",
        login: str = "",
        role: str = "User",
        status: str = "Active",
        timezone: str | None = None,
        secondary_emails: Sequence[str] = (),
    ) -> int:
        """An employee who sees and edits everything until told otherwise; the number."""
        number = len(self.store.employees) + 1
        self.store.employees[number] = Employee(
            number,
            name,
            lastname,
            email,
            role,
            status,
            timezone or self.options.robot_timezone,
            login or email or f"{name.lower()}{number}",
            tuple(secondary_emails),
        )
        return number

    def set_employee_status(self, employee: int, status: str) -> None:
        """`Active`, `ActiveWithoutAccess` or `Inactive`."""
        self._employee(employee).status = status

    def set_visible(self, employee: int, contacts: Sequence[int] | None, visible: bool) -> None:
        """Which contacts an employee may see; None: all, and single ones said before are forgotten."""
        self._allow(self._employee(employee).sees, contacts, visible)

    def set_editable(self, employee: int, contacts: Sequence[int] | None, editable: bool) -> None:
        self._allow(self._employee(employee).edits, contacts, editable)

    def set_access_rule(
        self, employee: int, *, supervised: bool = False, groups: Sequence[int] = (), edit: bool = False
    ) -> None:
        """The employee sees (``edit``: edits) only supervised contacts and those of the groups."""
        rule = Access(everything=False, supervised=supervised, groups=frozenset(groups))
        found = self._employee(employee)
        if edit:
            found.edits = rule
        else:
            found.sees = rule
        self.store.epoch += 1

    def _allow(self, rule: Access, contacts: Sequence[int] | None, allow: bool) -> None:
        if contacts is None:
            rule.everything = allow
            rule.granted.clear()
            rule.refused.clear()
        else:
            (rule.granted if allow else rule.refused).update(contacts)
            (rule.refused if allow else rule.granted).difference_update(contacts)
        self.store.epoch += 1

    def add_token(self, token: str, employee: int, scopes: Sequence[str] | None = None) -> None:
        """A REST token that acts as the employee, restricted to scopes if they are given."""
        allowed = None if scopes is None else frozenset(scopes)
        self.store.tokens[token] = Token(self._employee(employee).id, allowed)

    def add_group(self, name: str) -> int:
        number = max(self.store.groups, default=0) + 1
        self.store.groups[number] = name
        return number

    def add_template(self, name: str, *, is_company: bool = False) -> int:
        number = max(self.store.templates, default=0) + 1
        self.store.templates[number] = Template(number, name, is_company)
        return number

    def add_custom_field(self, name: str, type: int = 0) -> int:  # noqa: A002 - Planfix's own word
        number = max(self.store.custom_fields, default=9) + 1
        self.store.custom_fields[number] = CustomField(number, name, type)
        return number

    # -- in bulk -------------------------------------------------------------------------------------------

    def seed(
        self,
        count: int,
        seed: int = 1,
        filters: int = 1,
        owner: int | None = None,
        names: Sequence[str] | None = None,
        custom_field: int | None = None,
    ) -> dict[str, object]:
        """Fills the account with `count` realistic contacts, spread evenly over new filters by contact group.

        Answers `{"filters": [id], "groups": [number], "contacts": count, "companies": count}`; companies come
        extra, belong to no filter and are employers of the contacts.
        """
        titles = list(names) if names is not None else [f"Clients {number + 1}" for number in range(filters)]
        groups = [self.add_group(title) for title in titles]
        author = owner if owner is not None else self._any_user()
        made = [
            self.add_filter(title, author, {"kind": "group", "group": group})
            for title, group in zip(titles, groups, strict=True)
        ]
        now = self.clock()
        people, companies = planfix_contacts(count, seed, custom_field=custom_field)
        numbers = [self._insert(company, now - 86_400 * 30).id for company in companies]
        for index, person in enumerate(people):
            fields = dict(person)
            employer = fields.pop("employer", None)
            if isinstance(employer, int):
                fields["companies"] = [{"id": numbers[employer]}]
            if groups:
                fields["group"] = {"id": groups[index % len(groups)]}
            self._insert(fields, now - 86_400 + index % 80_000)
        return {"filters": made, "groups": groups, "contacts": len(people), "companies": len(companies)}

    def dump(self) -> dict[str, object]:
        """The whole content: contacts with all fields (trashed ones too), filters with members, employees."""
        store, view = self.store, self._everything()
        return {
            "contacts": [self._shown(contact, view) for contact in store.contacts.values()],
            "filters": [
                {
                    "id": saved.id,
                    "name": saved.name,
                    "owner": saved.owner,
                    "condition": condition_as_json(saved.condition),
                    "members": list(store.members(saved.id, None)),
                }
                for saved in store.filters.values()
            ],
            "employees": [
                {
                    "id": each.id,
                    "name": each.full_name,
                    "email": each.email,
                    "role": each.role,
                    "status": each.status,
                }
                for each in store.employees.values()
            ],
            "groups": [{"id": number, "name": name} for number, name in store.groups.items()],
        }

    def shown(self, contact: int) -> dict[str, object]:
        """One contact as `dump` shows it."""
        return self._shown(self._contact(contact), self._everything())

    # -- inside --------------------------------------------------------------------------------------------

    def _everything(self) -> View:
        fields = Fields(CONTACT_FIELDS, tuple(self.store.custom_fields))
        return View(fields, self.options.robot_timezone, unfiltered=True)

    def _shown(self, contact: Contact, view: View) -> dict[str, object]:
        return {**contact_json(self.store, self.options, contact, view), "mergedInto": contact.merged_into}

    def _insert(self, fields: Mapping[str, object], at_s: float) -> Contact:
        contact = self.store.new_contact(at_s, f"user:{self.robot}", is_company=bool(fields.get("isCompany", False)))
        change = read_request(self.store, self.options, contact, fields, by_api=False, creating=True)
        if change.refused:
            raise ValueError(f"Planfix does not take {', '.join(change.refused)}")
        change.apply(contact)
        self.store.insert(contact)
        return contact

    def _any_user(self) -> int:
        for employee in self.store.employees.values():
            if employee.role != "Robot":
                return employee.id
        return self.robot

    def _contact(self, number: int) -> Contact:
        contact = self.store.contacts.get(number)
        if contact is None:
            raise ValueError(f"there is no contact {number}")
        return contact

    def _filter(self, identity: str) -> SavedFilter:
        saved = self.store.filters.get(identity)
        if saved is None:
            raise ValueError(f"there is no filter {identity}")
        return saved

    def _employee(self, number: int) -> Employee:
        employee = self.store.employees.get(number)
        if employee is None:
            raise ValueError(f"there is no employee {number}")
        return employee
