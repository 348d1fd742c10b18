"""Word banks of the triage task: who runs what, and how it breaks.

`symptoms` go by impact: 3 stopped, 2 failing in part, 1 slow, 0 cosmetic. The
impact is what the severity rule in `triage` reads, so a phrase must mean its row.
"""

from typing import NamedTuple


class Domain(NamedTuple):
    """One line of work with its systems and its people."""

    people: tuple[str, str]
    systems: tuple[str, ...]
    symptoms: tuple[tuple[str, ...], ...]
    risks: tuple[str, ...]


def _lines(words: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in words.replace("\n", " ").split(",") if part.strip())


_MINOR = _lines("""shows the old logo, has a spelling mistake on the start page, uses the wrong shade of blue,
    prints the date in the wrong format, shows a label that is cut off, has a broken help link,
    shows last year in the footer, has a button that is out of line""")


def _domain(people: str, systems: str, stopped: str, partial: str, slow: str, risks: str) -> Domain:
    one, many = _lines(people)
    symptoms = (_MINOR, _lines(slow), _lines(partial), _lines(stopped))
    return Domain((one, many), _lines(systems), symptoms, _lines(risks))


DOMAINS = (
    _domain(
        "user, users",
        """login page, checkout service, search api, payment gateway, image server, status page,
        account portal, session cache, upload service, mobile api""",
        """returns error 503 on every request, does not answer at all, crashes right after the start,
        refuses every connection, is down since the last release""",
        """fails for about half of the requests, rejects every second upload, loses the session after
        a minute, returns error 500 on some pages, drops large requests""",
        """takes twelve seconds per page, answers very slowly, is slow in the afternoon,
        needs several seconds for each click""",
        """private addresses of other users are shown, orders are being charged twice,
        an unknown account has admin rights, passwords are written to the log""",
    ),
    _domain(
        "analyst, analysts",
        """orders database, customer database, reporting replica, billing database, stock table,
        metrics store, archive cluster, backup server, event queue, data warehouse""",
        """does not accept connections, stopped with a full disk, is in a restart loop,
        lost its primary node, rejects every write""",
        """times out on large queries, returns stale rows, misses the last two imports,
        fails on every second write, locks the same table again and again""",
        """has a replication lag of ten minutes, runs queries three times slower than usual,
        is slow during the nightly import, needs a minute for a simple count""",
        """rows are missing after the restore, the last backup is empty,
        a table was dropped by mistake, customer records are being overwritten""",
    ),
    _domain(
        "colleague, colleagues",
        """label printer, office printer, scanner, copy machine, badge printer, plotter,
        receipt printer, meeting room screen, projector, telephone system""",
        """does not turn on, shows a red light and does nothing, is not found on the network,
        reports a paper jam although it is empty, stopped in the middle of a job""",
        """prints only every second page, leaves black stripes, prints the wrong tray,
        loses the connection after each job, skips the last line""",
        """needs a minute for each page, starts very slowly, is much slower than last week,
        waits a long time before each job""",
        """smoke is coming out of the back, there is a smell of burning plastic,
        confidential letters are printed in the wrong office, the cable is hot and sparks""",
    ),
    _domain(
        "nurse, nurses",
        """appointment system, patient monitor, lab results viewer, medicine cabinet, call bell,
        x-ray archive, ward tablet, vaccine fridge, infusion pump, reception desk system""",
        """does not start, shows a black screen, cannot be unlocked, is offline since the morning,
        does not respond to any key""",
        """loses some of the entries, shows results for only part of the ward, beeps without a reason,
        does not save new notes, drops out every few minutes""",
        """takes minutes to load a record, reacts slowly, is slow at shift change,
        needs a long time to sign in""",
        """a patient got the wrong dose, results of two patients were mixed up,
        the vaccines are getting warm, an alarm was not heard by anyone""",
    ),
    _domain(
        "cashier, cashiers",
        """till, card terminal, self checkout, price scanner, loyalty app, stock list,
        online shop, gift card system, door counter, delivery planner""",
        """does not open, rejects every card, is frozen, shows no connection,
        does not start after the update""",
        """rejects some cards, reads only half of the barcodes, shows the wrong price for some goods,
        forgets discounts, prints no receipt for returns""",
        """takes a minute for each payment, is slow since the update, reacts late to each scan,
        needs a long time between two customers""",
        """customers are charged twice, card numbers are printed in full on the receipt,
        money is missing from two tills, the freezer alarm is on and food is thawing""",
    ),
    _domain(
        "operator, operators",
        """conveyor belt, packing robot, mixing tank, cutting machine, paint line, pressure sensor,
        cooling pump, control panel, forklift charger, air compressor""",
        """stopped without a message, does not move, trips the fuse at every start,
        shows an emergency stop, lost power""",
        """stops every few minutes, drops some of the boxes, reports wrong values at times,
        misses every tenth part, jams when the load is heavy""",
        """runs at half speed, takes long to warm up, is slower than planned, reacts with a delay""",
        """oil is leaking onto the floor, a guard is missing and a hand was nearly caught,
        there is a smell of gas, the pressure is above the red mark""",
    ),
    _domain(
        "teacher, teachers",
        """timetable, class register, exam portal, video lessons, library catalogue, classroom wifi,
        homework platform, school bell, grade book, canteen payment""",
        """cannot be opened, shows an empty page, rejects every password, is offline,
        closes itself at once""",
        """shows lessons for the wrong class, loses some of the grades, works only in one browser,
        misses the new pupils, disconnects during lessons""",
        """loads very slowly, takes minutes to sign in, is slow in the first lesson,
        stutters when many are online""",
        """grades are visible to everyone, exam answers were published by mistake,
        a pupil changed the marks of others, addresses of pupils are public""",
    ),
    _domain(
        "driver, drivers",
        """ticket machine, route planner, signal box, departure board, parking gate, charging station,
        fleet tracker, radio, depot door, fuel pump""",
        """is dead, does not react, stays dark, does not open, lost its connection to the depot""",
        """shows wrong times for some lines, works only with coins, loses vehicles on the map,
        fails in the rain, opens only at the second attempt""",
        """updates with ten minutes of delay, reacts slowly, takes long to print,
        needs several tries and much time""",
        """two trains got the same track, a gate closed on a car, fuel is running into the drain,
        the emergency call does not get through""",
    ),
    _domain(
        "guest, guests",
        """booking system, room key system, lift, heating, hot water, breakfast list, guest wifi,
        minibar billing, pool pump, laundry machine""",
        """is out of order, does not work at all, stopped last night, stays cold,
        does not answer""",
        """works only on some floors, shows rooms as free that are taken, fails from time to time,
        accepts only old keys, stops after a few minutes""",
        """is very slow, takes a long time to react, is slower than usual in the evening,
        needs several minutes to start""",
        """a guest is stuck inside, keys open the wrong rooms, water is coming through the ceiling,
        someone fell on the wet floor""",
    ),
    _domain(
        "clerk, clerks",
        """mail server, shared drive, vpn, calendar, payroll system, invoice tool, document archive,
        chat server, remote desktop, contract register""",
        """is not reachable, does not deliver anything, rejects every sign in, stopped after the patch,
        shows only an error page""",
        """loses some attachments, delivers only internal messages, disconnects every ten minutes,
        shows old versions of files, fails for long documents""",
        """delivers with an hour of delay, is slow over the vpn, needs minutes to open a file,
        hangs for a while at each save""",
        """salaries are visible to everyone, files are being encrypted by an unknown program,
        a contract was sent to the wrong client, someone clicked a phishing link and gave the password""",
    ),
    _domain(
        "grower, growers",
        """watering system, greenhouse roof, milk tank, feeding robot, weather station, seed drill,
        egg sorter, grain dryer, barn fan, cold store""",
        """does not start, is stuck, gives no signal, stopped during the night, has no power""",
        """waters only half of the rows, sorts some boxes wrongly, stops when it is hot,
        sends values only now and then, closes only on one side""",
        """runs slowly, takes twice as long as usual, reacts late, needs long to cool down""",
        """the milk is getting warm, a worker was cut by a blade, the animals have no water,
        the dryer is overheating and there is smoke""",
    ),
    _domain(
        "engineer, engineers",
        """build server, test cluster, package mirror, code review tool, release pipeline, container registry,
        log collector, alert manager, dns resolver, load balancer""",
        """does not accept jobs, is down, fails on every commit, has no healthy node,
        rejects every request with error 502""",
        """fails on some branches, loses log lines, skips a few tests, sends alerts twice,
        drops one node every hour""",
        """keeps jobs in the queue for an hour, takes twice as long as last week, answers slowly,
        is slow when it rebuilds the cache""",
        """a secret key was pushed to a public branch, the production volume is being deleted,
        a release was signed with an expired key, an unknown address reads from the registry""",
    ),
)
