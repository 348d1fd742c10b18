"""Word banks that several categories share. Only words: no sentences, no logic."""


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _lines(words: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in words.replace("\n", " ").split(",") if part.strip())


SHE = _split("""Anna Maria Lena Ines Nora Clara Mina Sofia Ada Greta Elif Priya Mei Yuki Hana Amina
    Zara Leila Rosa Carmen Julia Paula Ruth Esther Ingrid Freya Maya Tess Olga Vera Irene Daria""")
HE = _split("""Tom Ben Luca Omar Jonas Felix Hugo Emil Karl Ivan Pedro Mateo Diego Ravi Arjun Kenji Hiro
    Wei Samir Yusuf Tariq Noah Oskar Viktor Anton Peter Simon Leo Marek Pavel Dario Finn""")
NAMES = SHE + HE
SURNAMES = _split("""Becker Novak Silva Rossi Meyer Larsen Costa Haddad Khan Patel Tanaka Okafor Mensah Jensen
    Kowalski Dubois Moreau Schmidt Fischer Garcia Lopez Marino Petrov Horvat Nielsen Virtanen
    Murphy Walsh Evans Clarke Young Baker Cooper Turner Hill Wood Stone Field Brook Marsh""")
CITIES = _split("""Oslo Porto Lyon Graz Turin Basel Ghent Leeds Cork Bergen Lisbon Prague Krakow Riga Tallinn
    Vilnius Malmo Aarhus Utrecht Bremen Kassel Trier Geneva Verona Bari Seville Bilbao Nantes Lille
    Denver Austin Boston Halifax Quito Lima Cusco Nairobi Accra Tunis Cairo Amman Izmir Pune Chennai
    Hanoi Osaka Kyoto Busan Perth Hobart Dunedin Suva""")
STREETS = _lines("""Mill Lane, Station Road, Harbour Street, Church Hill, Garden Row, Park Avenue, King Street,
    Bridge Road, Lake View, Orchard Way, School Lane, Market Square, River Walk, North Street,
    Elm Drive, Oak Close, Castle Street, Long Road, Spring Terrace, Field Path""")
COMPANIES = _lines("""Northwind Foods, Bluebird Books, Harbour Tools, Green Acre Farms, Silverline Travel,
    Cobalt Software, Maple Furniture, Redstone Mining, Lantern Media, Quiet Hotels, Ridge Outdoor,
    Pebble Toys, Summit Insurance, Canal Logistics, Orchard Health, Beacon Energy, Tidal Seafood,
    Copper Kettle, Falcon Couriers, Willow Clinics, Amber Lighting, Prairie Grain, Delta Printing""")
MONTHS = _split("January February March April May June July August September October November December")
DAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
COLOURS = _split("red blue green yellow white black brown grey orange purple pink silver golden dark pale")
ANIMALS = _split("""dog cat fox rabbit horse goat sheep cow duck goose hen owl crow robin mouse hedgehog squirrel
    badger deer donkey pony turtle frog otter seal swan bear wolf""")
FRUITS = _split("""apples pears plums cherries grapes lemons oranges bananas peaches figs melons berries
    apricots mangoes limes kiwis""")
VEGETABLES = _split("""carrots potatoes onions tomatoes beans peas leeks cabbages pumpkins radishes beets cucumbers
    peppers turnips mushrooms""")
GROCERIES = _lines("""milk, bread, butter, eggs, cheese, rice, pasta, flour, sugar, salt, olive oil, honey, tea,
    coffee, yogurt, oats, lentils, tofu, chicken, fish, jam, mustard, vinegar, garlic, ginger, basil,
    chocolate, biscuits, soup, juice, sparkling water, nuts""")
OBJECTS = _split("""lamp kettle basket ladder rope blanket bucket candle mirror clock whistle drum kite lantern
    suitcase notebook pencil hammer umbrella bicycle boat cart spoon bowl key map coin ring button
    bell box scarf hat coat boot teapot book letter""")
GOODS = _split("""desk chair lamp monitor keyboard mouse headset tablet charger backpack tent kettle toaster
    blender heater fan rug shelf mattress pillow jacket helmet bicycle printer scanner router camera
    speaker watch notebook""")
JOBS = _split("""baker farmer teacher nurse carpenter sailor miller tailor gardener painter doctor fisherman
    shepherd librarian blacksmith driver cook postman potter weaver clockmaker beekeeper""")
PLACES = _lines("""village, harbour, forest, mountain, valley, island, market, farm, river, lake, meadow, mill,
    castle, library, school, garden, bakery, lighthouse, orchard, station, bridge, square""")
DEPARTMENTS = _lines("""sales, support, finance, legal, research, logistics, marketing, purchasing, design, operations,
    personnel, training, quality, maintenance""")
