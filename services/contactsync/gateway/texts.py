"""What the gateway's pages say, in English and Russian; `pages.py` puts it into templates.

Places in braces are filled from `Refusal.values`. Each text says what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from contactsync.gateway.problems import Problem

Language = Literal["en", "ru"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "ru")


@dataclass(frozen=True, slots=True)
class Text:
    title: str
    body: str


PROBLEMS: Final[Mapping[Problem, Mapping[Language, Text]]] = {
    Problem.NO_PAGE: {
        "en": Text("There is no such page", "Check the address, or ask for a new link."),
        "ru": Text("Такой страницы нет", "Проверьте адрес или попросите новую ссылку."),
    },
    Problem.BROKEN: {
        "en": Text("Something went wrong here", "Try again; if it stays, tell your administrator."),
        "ru": Text("Что-то пошло не так", "Попробуйте снова; если не поможет, сообщите администратору."),
    },
    Problem.LINK_FORGED: {
        "en": Text(
            "This link is damaged",
            "It is not one of ours, or a part of it got lost on the way. Open it from the original message, or "
            "ask for a new one.",
        ),
        "ru": Text(
            "Ссылка повреждена",
            "Это не наша ссылка, или часть её потерялась. Откройте её из исходного сообщения или попросите новую.",
        ),
    },
    Problem.LINK_EXPIRED: {
        "en": Text("This link has expired", "Links are good for seven days. Ask for a new one."),
        "ru": Text("Срок действия ссылки истёк", "Ссылка действует семь дней. Попросите новую."),
    },
    Problem.LINK_USED: {
        "en": Text(
            "This link has been used already",
            "The synchronisation that it was for is switched on. To connect again ask for a new link.",
        ),
        "ru": Text(
            "Эта ссылка уже использована",
            "Синхронизация по ней уже включена. Чтобы подключиться заново, попросите новую ссылку.",
        ),
    },
    Problem.FILTER_MISSING: {
        "en": Text(
            "Planfix has no such filter",
            "It was deleted, or is not shared with the synchronisation. Save the filter in Planfix first, then ask "
            "for a new link.",
        ),
        "ru": Text(
            "В Планфиксе нет такого фильтра",
            "Он удалён или недоступен для синхронизации. Сначала сохраните фильтр в Планфиксе, затем попросите "
            "новую ссылку.",
        ),
    },
    Problem.FILTER_NO_OWNER: {
        "en": Text(
            "This filter belongs to nobody",
            "Planfix's own lists cannot be synchronised. Save a filter of your own and ask for a link to it.",
        ),
        "ru": Text(
            "У этого фильтра нет владельца",
            "Системные списки Планфикса синхронизировать нельзя. Сохраните свой фильтр и попросите ссылку на него.",
        ),
    },
    Problem.NOT_OWNER: {
        "en": Text(
            "This filter is somebody else's",
            "Only the employee who created the filter can switch its synchronisation on.",
        ),
        "ru": Text(
            "Это чужой фильтр",
            "Включить синхронизацию может только сотрудник, который создал фильтр.",
        ),
    },
    Problem.OWNER_INACTIVE: {
        "en": Text(
            "The filter's owner is not an active employee",
            "Planfix says that the owner no longer works here. Ask your administrator.",
        ),
        "ru": Text(
            "Владелец фильтра не является активным сотрудником",
            "Планфикс сообщает, что владелец больше не работает. Обратитесь к администратору.",
        ),
    },
    Problem.PLAN_NEEDED: {
        "en": Text(
            "Planfix's plan does not include this",
            "The Planfix API is there on paid plans only. When the plan is paid, open this link again.",
        ),
        "ru": Text(
            "Тариф Планфикса не подходит",
            "API Планфикса доступен только на платных тарифах. Когда тариф будет оплачен, откройте ссылку снова.",
        ),
    },
    Problem.PLANFIX_DOWN: {
        "en": Text(
            "Planfix does not answer at the moment",
            "Nothing is lost: the link stays good. Try again in a few minutes.",
        ),
        "ru": Text(
            "Планфикс сейчас не отвечает",
            "Ничего не потеряно: ссылка остаётся действительной. Попробуйте через несколько минут.",
        ),
    },
    Problem.PLANFIX_DENIED: {
        "en": Text(
            "Planfix refuses the synchronisation's access",
            "Your administrator has to check the Planfix token (`contactsync doctor` tells what is wrong). The link "
            "stays good.",
        ),
        "ru": Text(
            "Планфикс отказывает синхронизации в доступе",
            "Администратору нужно проверить токен Планфикса (команда `contactsync doctor` подскажет). Ссылка "
            "остаётся действительной.",
        ),
    },
    Problem.GOOGLE_NOT_SET: {
        "en": Text(
            "Google is not set up yet",
            "Your administrator has to enter the Google client id and secret. The link stays good.",
        ),
        "ru": Text(
            "Google ещё не настроен",
            "Администратору нужно указать идентификатор и секрет клиента Google. Ссылка остаётся действительной.",
        ),
    },
    Problem.GOOGLE_DOWN: {
        "en": Text("Google does not answer at the moment", "The link stays good. Try again in a few minutes."),
        "ru": Text("Google сейчас не отвечает", "Ссылка остаётся действительной. Попробуйте через несколько минут."),
    },
    Problem.GOOGLE_ERROR: {
        "en": Text(
            "Google refuses the sign-in",
            "Google answered with an error about this application. Your administrator can look with "
            "`contactsync doctor`.",
        ),
        "ru": Text(
            "Google отклонил вход",
            "Google сообщил об ошибке в настройках приложения. Администратору поможет `contactsync doctor`.",
        ),
    },
    Problem.NATS_DOWN: {
        "en": Text(
            "The synchronisation is not available at the moment",
            "It is starting or being repaired. Nothing is lost: try again in a minute.",
        ),
        "ru": Text(
            "Синхронизация сейчас недоступна",
            "Она запускается или восстанавливается. Ничего не потеряно: попробуйте через минуту.",
        ),
    },
    Problem.STATE_INVALID: {
        "en": Text(
            "This sign-in is over",
            "It took longer than 15 minutes, or was finished in another window. Open the activation link again.",
        ),
        "ru": Text(
            "Этот вход завершён",
            "Прошло больше 15 минут, или вход закончен в другом окне. Откройте ссылку активации снова.",
        ),
    },
    Problem.OTHER_BROWSER: {
        "en": Text(
            "This sign-in was begun in another browser",
            "Open the activation link in the browser in which you want to sign in. Cookies must be allowed.",
        ),
        "ru": Text(
            "Этот вход начат в другом браузере",
            "Откройте ссылку активации в том браузере, где хотите войти. Файлы cookie должны быть разрешены.",
        ),
    },
    Problem.DENIED: {
        "en": Text("You did not allow it", "Nothing was changed. If that was by mistake, try again."),
        "ru": Text("Вы не дали разрешения", "Ничего не изменено. Если это вышло случайно, попробуйте снова."),
    },
    Problem.CODE_STALE: {
        "en": Text("Google does not recognise the sign-in any more", "That happens when a page is loaded twice."),
        "ru": Text("Google больше не узнаёт этот вход", "Так бывает, если страница загружена дважды."),
    },
    Problem.IDENTITY_WRONG: {
        "en": Text(
            "Google's answer does not belong to this sign-in", "Nothing was connected. Start from the link again."
        ),
        "ru": Text("Ответ Google не относится к этому входу", "Ничего не подключено. Начните снова со ссылки."),
    },
    Problem.EMAIL_UNVERIFIED: {
        "en": Text(
            "This Google account's address is not verified",
            "Verify the address in the Google account's settings, or choose another account.",
        ),
        "ru": Text(
            "Адрес этого аккаунта Google не подтверждён",
            "Подтвердите адрес в настройках аккаунта Google или выберите другой аккаунт.",
        ),
    },
    Problem.DOMAIN_REFUSED: {
        "en": Text(
            "This Google account may not be used here",
            "Accounts of these domains are allowed: {domains}. Choose another account.",
        ),
        "ru": Text(
            "Этот аккаунт Google здесь использовать нельзя",
            "Разрешены аккаунты доменов: {domains}. Выберите другой аккаунт.",
        ),
    },
    Problem.SCOPE_MISSING: {
        "en": Text(
            "The contacts permission is missing",
            "On Google's page the box “See, edit, download, and permanently delete your contacts” has to be "
            "ticked: without it nothing can be synchronised. Try again and tick it.",
        ),
        "ru": Text(
            "Нет разрешения на контакты",
            "На странице Google нужно отметить пункт «Просмотр, изменение, скачивание и окончательное удаление "
            "контактов»: без него синхронизация невозможна. Попробуйте снова и отметьте его.",
        ),
    },
    Problem.NO_REFRESH_TOKEN: {
        "en": Text(
            "Google gave access for this moment only",
            "Remove this application under “Third-party apps” in the Google account, then try again.",
        ),
        "ru": Text(
            "Google дал доступ только на этот раз",
            "Удалите это приложение в разделе «Сторонние приложения» аккаунта Google и попробуйте снова.",
        ),
    },
    Problem.OTHER_ACCOUNT: {
        "en": Text(
            "This filter is connected to another Google account",
            "Try again and choose the account from before. To move to another one ask your administrator for a "
            "re-linking link.",
        ),
        "ru": Text(
            "Этот фильтр подключён к другому аккаунту Google",
            "Попробуйте снова и выберите прежний аккаунт. Чтобы перейти на другой, попросите у администратора "
            "ссылку для смены аккаунта.",
        ),
    },
    Problem.ACCOUNT_TAKEN: {
        "en": Text(
            "Another employee uses this Google account",
            "Each employee needs an account of their own. Try again and choose yours.",
        ),
        "ru": Text(
            "Этим аккаунтом Google пользуется другой сотрудник",
            "У каждого сотрудника должен быть свой аккаунт. Попробуйте снова и выберите свой.",
        ),
    },
    Problem.LEAVING: {
        "en": Text(
            "This filter is being disconnected",
            "It leaves the account of before. Try again in a few minutes.",
        ),
        "ru": Text(
            "Этот фильтр отключается",
            "Он покидает прежний аккаунт. Попробуйте снова через несколько минут.",
        ),
    },
    Problem.NOT_SYNCED: {
        "en": Text(
            "This filter is not synchronised",
            "Its owner can switch it on with an activation link; your administrator has it.",
        ),
        "ru": Text(
            "Этот фильтр не синхронизируется",
            "Владелец может включить синхронизацию по ссылке активации; она есть у администратора.",
        ),
    },
    Problem.NO_EMPLOYEE: {
        "en": Text(
            "Planfix knows nobody with this e-mail address",
            "Sign in with the address that is your Planfix login or one of your other addresses there.",
        ),
        "ru": Text(
            "В Планфиксе нет сотрудника с этим адресом",
            "Войдите с адресом, который у вас в Планфиксе служит логином или записан как дополнительный.",
        ),
    },
    Problem.MANY_EMPLOYEES: {
        "en": Text(
            "Several employees have this e-mail address in Planfix",
            "Nobody can tell which one you are. Ask your administrator to leave it with one of them.",
        ),
        "ru": Text(
            "Этот адрес в Планфиксе у нескольких сотрудников",
            "Нельзя понять, кто из них вы. Попросите администратора оставить его у одного.",
        ),
    },
    Problem.TOKEN_WRONG: {
        "en": Text("This is not the operator's token", "It is the value of CONTACTSYNC_ADMIN_TOKEN."),
        "ru": Text("Это не токен администратора", "Он задан в CONTACTSYNC_ADMIN_TOKEN."),
    },
    Problem.TOO_MANY: {
        "en": Text("Too many requests", "Wait a minute and try again."),
        "ru": Text("Слишком много запросов", "Подождите минуту и попробуйте снова."),
    },
    Problem.FORGERY: {
        "en": Text(
            "This page is too old, or the request came from another site",
            "Nothing was changed. Open the page again and repeat what you did.",
        ),
        "ru": Text(
            "Страница устарела, или запрос пришёл с другого сайта",
            "Ничего не изменено. Откройте страницу снова и повторите.",
        ),
    },
    Problem.REFUSED: {
        "en": Text("This cannot be done", "{what}"),
        "ru": Text("Этого сделать нельзя", "{what}"),
    },
    Problem.BAD_INPUT: {
        "en": Text("Something in the request is not right", "{what}"),
        "ru": Text("В запросе что-то не так", "{what}"),
    },
    Problem.NO_CONTACT: {
        "en": Text("This filter has no such contact", "It may have left the filter a moment ago."),
        "ru": Text("В этом фильтре нет такого контакта", "Возможно, он только что покинул фильтр."),
    },
    Problem.CONTACTS_HIDDEN: {
        "en": Text(
            "Contacts are shown to the filter's owner only",
            "The operator sees figures. CONTACTSYNC_OPERATOR_SEES_CONTACTS changes that.",
        ),
        "ru": Text(
            "Контакты видит только владелец фильтра",
            "Администратор видит цифры. Это меняет CONTACTSYNC_OPERATOR_SEES_CONTACTS.",
        ),
    },
    Problem.TOO_LARGE: {
        "en": Text("The request is too large", "Send less at once."),
        "ru": Text("Запрос слишком велик", "Отправьте меньше за один раз."),
    },
    Problem.CHANGED_MEANWHILE: {
        "en": Text("Somebody else has changed this meanwhile", "Look at it again, then repeat your change."),
        "ru": Text("Это уже изменил кто-то другой", "Посмотрите снова и повторите изменение."),
    },
    Problem.NOT_JSON: {
        "en": Text("The body is not JSON", "Send it with `Content-Type: application/json`."),
        "ru": Text("Тело запроса не JSON", "Отправьте его с `Content-Type: application/json`."),
    },
    Problem.NOT_SIGNED_IN: {
        "en": Text("Please sign in", "This page is for people who are signed in."),
        "ru": Text("Войдите", "Эта страница для тех, кто вошёл."),
    },
}

WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "again": "Try again",
        "filter": "Filter",
        "state": "State",
        "two_way": "Direction",
        "direction_both": "both ways",
        "direction_google": "from Planfix to Google only",
        "account": "Google account",
        "contacts": "Contacts",
        "in_sync": "in sync",
        "pending": "on their way",
        "held_back": "held back",
        "dismissed": "dismissed",
        "last_sync": "Last synchronisation",
        "never": "not yet",
        "running": "running",
        "succeeded": "done",
        "failed": "failed",
        "cancelled": "stopped",
        "figures": "{created} created, {updated} updated, {removed} removed",
        "activated": "Synchronisation is switched on",
        "activated_body": "Your contacts are on their way. This page keeps itself up to date; you can close it.",
        "refreshes": "This page keeps itself up to date.",
        "details_hidden": "Details are shown in the browser in which the filter was activated.",
        "about": "Contactsync keeps Planfix contact filters and Google Contacts labels the same, both ways.",
        "about_next": "To switch a filter on, open the activation link that your administrator gave you.",
        "health_ok": "The synchronisation is running.",
        "health_bad": "The synchronisation is not reachable at the moment.",
    },
    "ru": {
        "again": "Попробовать снова",
        "filter": "Фильтр",
        "state": "Состояние",
        "two_way": "Направление",
        "direction_both": "в обе стороны",
        "direction_google": "только из Планфикса в Google",
        "account": "Аккаунт Google",
        "contacts": "Контакты",
        "in_sync": "синхронизированы",
        "pending": "в пути",
        "held_back": "задержаны",
        "dismissed": "исключены",
        "last_sync": "Последняя синхронизация",
        "never": "ещё не было",
        "running": "идёт",
        "succeeded": "завершена",
        "failed": "не удалась",
        "cancelled": "остановлена",
        "figures": "создано {created}, изменено {updated}, удалено {removed}",
        "activated": "Синхронизация включена",
        "activated_body": "Контакты уже в пути. Страница обновляется сама; её можно закрыть.",
        "refreshes": "Страница обновляется сама.",
        "details_hidden": "Подробности видны в браузере, в котором фильтр был включён.",
        "about": "Contactsync держит фильтры контактов Планфикса и ярлыки Google Контактов одинаковыми.",
        "about_next": "Чтобы включить фильтр, откройте ссылку активации, которую дал администратор.",
        "health_ok": "Синхронизация работает.",
        "health_bad": "Синхронизация сейчас недоступна.",
    },
}

STATES: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "enabling": "being switched on",
        "first_sync": "first synchronisation",
        "in_sync": "in sync",
        "syncing": "synchronising",
        "paused": "paused",
        "frozen": "waits for approval",
        "reconnect_needed": "Google account has to be connected again",
        "plan_needed": "needs a paid Planfix plan",
        "filter_gone": "filter is gone in Planfix",
        "owner_gone": "filter's owner is no longer active",
        "disconnecting": "being disconnected",
    },
    "ru": {
        "enabling": "включается",
        "first_sync": "первая синхронизация",
        "in_sync": "синхронизирован",
        "syncing": "синхронизируется",
        "paused": "на паузе",
        "frozen": "ждёт подтверждения",
        "reconnect_needed": "нужно заново подключить аккаунт Google",
        "plan_needed": "нужен платный тариф Планфикса",
        "filter_gone": "фильтр удалён в Планфиксе",
        "owner_gone": "владелец фильтра больше не активен",
        "disconnecting": "отключается",
    },
}


def language_of(accept_language: str) -> Language:
    """Russian where the reader prefers it to English, else English (RFC 9110, 12.5.4)."""
    best: Language = "en"
    best_weight = 0.0
    for part in accept_language.split(","):
        name, _, parameters = part.strip().partition(";")
        language = name.strip().lower().partition("-")[0]
        weight = _weight(parameters)
        for known in LANGUAGES:
            if known == language and weight > best_weight:
                best, best_weight = known, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
