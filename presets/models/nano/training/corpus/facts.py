"""Everyday questions with short answers, each in several wordings."""

FACTS = (
    (
        "[Why is the sky blue?|What makes the sky blue?]",
        "[Sunlight holds all colours.|The light of the sun is a mix of colours.] [The air scatters blue light more than red light|Blue light is scattered by the air more than the other colours], so [blue reaches our eyes from every side|the whole sky looks blue].",
    ),
    (
        "[Why do leaves turn yellow in autumn?|Why do leaves change their colour?]",
        "[In summer leaves are full of a green substance.|Leaves are green because of chlorophyll.] [When days grow short, the tree takes it back|In autumn the tree breaks it down], and [yellow and red colours can be seen|the yellow that was always there shows].",
    ),
    (
        "[Why does ice float?|Why does ice swim on water?]",
        "[Water grows when it freezes.|Frozen water needs more room.] [So ice is lighter than water of the same size|Ice is therefore less dense], and [it floats|that is why it swims on top].",
    ),
    (
        "[What is rain?|Where does rain come from?]",
        "[The sun warms the sea, and water rises as vapour.|Water from lakes and seas turns into vapour.] [High up it is cold, so the vapour becomes small drops|It cools down and forms clouds]. [When the drops are heavy, they fall|Large drops fall as rain].",
    ),
    (
        "[How does a bicycle stay upright?|Why does a moving bicycle not fall?]",
        "[The rider keeps steering a little to the side it leans to.|Small movements of the handlebar keep it in balance.] [The faster it rolls, the easier this is|At speed this is easy, at rest it is hard].",
    ),
    (
        "[What is an hour?|How long is an hour?]",
        "[An hour has sixty minutes.|One hour is sixty minutes.] [A day has twenty-four hours|There are twenty-four hours in a day], so [a day has 1440 minutes|that makes 1440 minutes a day].",
    ),
    (
        "[Why do we sleep?|Why do people need sleep?]",
        "[Sleep lets the body rest and repair itself.|In sleep the body recovers.] [The brain sorts what it learnt|We also keep memories better]. [Most adults need seven to nine hours|Children need more sleep than adults].",
    ),
    (
        "[What is bread made of?|What do I need for bread?]",
        "[Bread is made of flour, water, salt and yeast.|Flour, water, salt and yeast are enough.] [The yeast makes bubbles, so the dough rises|Bubbles from the yeast make it soft]. [Then it is baked|The oven makes it firm and brown].",
    ),
    (
        "[What is a computer program?|What does a program do?]",
        "[A program is a list of instructions for a computer.|It is a text that tells a computer what to do.] [The computer follows them one by one|Each step is small and exact].",
    ),
    (
        "[What is a database?|What are databases for?]",
        "[A database stores data in an orderly way.|It keeps data so that many programs can use it.] [One can search it, add rows and change them|You ask it questions with a language such as SQL].",
    ),
    (
        "[How do bees make honey?|Where does honey come from?]",
        "[Bees collect nectar from flowers.|Nectar from flowers is where it begins.] [In the hive they pass it on and dry it with their wings|They carry it home and let water dry out of it], and [it becomes thick honey|honey is what remains].",
    ),
    (
        "[Why does the moon change its shape?|What are the phases of the moon?]",
        "[The moon does not shine itself; the sun lights one half.|Only the half that faces the sun is bright.] [As the moon moves around the earth, we see more or less of it|From the earth we see a different part of that half each night]. [One round takes about a month|A full cycle takes a little over 29 days].",
    ),
    (
        "[What is the difference between a frog and a toad?|How do frogs and toads differ?]",
        "[Frogs have smooth, wet skin, toads have dry, bumpy skin.|The skin of a frog is smooth, that of a toad is rough.] [Frogs jump far, toads walk or hop a little|A frog has long legs for jumping].",
    ),
    (
        "[Why is the sea salty?|Where does the salt in the sea come from?]",
        "[Rain washes salt out of rocks.|Rivers carry a little salt from the land.] [It flows into the sea|In the sea it collects], and [when water evaporates, the salt stays behind|only the water leaves as vapour].",
    ),
    (
        "[What is a password manager?|Why should I use a password manager?]",
        "[It is a program that keeps your passwords safe.|A password manager stores all passwords behind one.] [You need to remember only one long password|So every account can have its own password].",
    ),
    (
        "[How do plants drink?|How do plants get water?]",
        "[Plants take up water with their roots.|Roots draw water from the soil.] [Thin tubes carry it up to the leaves|It rises through the stem], where [some of it evaporates|it is used to make sugar with light].",
    ),
    (
        "[What is a leap year?|Why are there leap years?]",
        "[The earth needs a little more than 365 days around the sun.|A year is about a quarter of a day longer than 365 days.] [So every fourth year, with few exceptions, gets one more day|Therefore February has 29 days in most fourth years].",
    ),
    (
        "[Why do we have seasons?|What causes summer and winter?]",
        "[The axis of the earth is tilted.|The earth leans a little to one side.] [In summer our half leans towards the sun, in winter away from it|So each half gets more sun for one part of the year].",
    ),
    (
        "[What does a thermometer show?|How does a thermometer work?]",
        "[It shows how warm something is.|A thermometer measures temperature.] [A liquid in a thin tube grows when it is warm and rises|Warm liquid needs more room and climbs in the tube].",
    ),
    (
        "[What is a backup?|Why do I need backups?]",
        "[A backup is a copy of your files in another place.|It is a second copy of what matters to you.] [If a disk breaks, you still have it|Disks can fail and files can be deleted by mistake]. [Test it now and then|Keep one copy outside of your home].",
    ),
    (
        "[How does a magnet work?|What does a magnet attract?]",
        "[A magnet attracts iron, nickel and cobalt.|Magnets pull on iron and a few other metals.] [It has a north pole and a south pole|Each magnet has two poles]. [Equal poles push each other away|Unlike poles attract].",
    ),
    (
        "[Why do cats purr?|What does it mean when a cat purrs?]",
        "[Cats mostly purr when they feel well.|Purring is often a sign of comfort.] [They may also purr when they are ill or afraid|Some purr to calm themselves].",
    ),
    (
        "[What is an echo?|How does an echo arise?]",
        "[Sound moves through the air and bounces off walls and rocks.|An echo is sound that comes back.] [If the wall is far away, you hear it a moment later|It needs time for the way there and back].",
    ),
    (
        "[What is recycling?|Why should we recycle?]",
        "[Recycling means to make new things from old ones.|Old paper, glass and metal become new products.] [It saves energy and material|Less waste has to be burned or buried].",
    ),
    (
        "[What is a map for?|How do I read a map?]",
        "[A map shows a place from above.|A map is a small picture of a place.] [North is mostly at the top|The legend explains the signs], and [the scale tells how far things are apart|one can measure the way with the scale].",
    ),
    (
        "[How does soap clean?|Why does soap remove grease?]",
        "[One end of soap sticks to water and the other to grease.|Soap can hold on to water and to fat.] [So it lifts the grease off, and water carries it away|That way water can wash the fat away].",
    ),
    (
        "[Why do onions make us cry?|Why do my eyes water when I cut onions?]",
        "[A cut onion lets out a gas.|Cutting breaks small cells that release a gas.] [In the eye it stings|The gas irritates the eyes], and [tears wash it out|the eye makes tears against it]. [A sharp knife helps|Cool onions sting less].",
    ),
    (
        "[What is speculative decoding?|How does speculative decoding help?]",
        "[A small assistant model drafts a few tokens.|A cheap draft of the next tokens is made first.] [The large model checks them all in one step|Then the target verifies the draft at once]. [Every token that agrees is kept, so the output stays the same|Accepted tokens are free, and the text does not change].",
    ),
    (
        "[What is a token?|What are tokens in a language model?]",
        "[A token is a piece of text, such as a word or a part of one.|Language models read text in small pieces, the tokens.] [The model predicts one token after the other|Text is written token by token].",
    ),
    (
        "[Why is the earth round?|What shape does the earth have?]",
        "[Gravity pulls everything towards the middle.|The earth is nearly a ball because of its own gravity.] [So no part can stick out far|It is a little wider at the equator].",
    ),
    (
        "[What is a bug in a program?|Why do programs have bugs?]",
        "[A bug is a mistake in the code.|It is an error that makes a program do the wrong thing.] [People write programs, and people make mistakes|Large programs have many parts that must fit together]. [Tests help to find bugs early|Good tests find many of them].",
    ),
    (
        "[How does a key open a lock?|How does a lock work?]",
        "[Inside the lock there are small pins of different length.|A lock holds a row of pins on springs.] [The right key lifts each pin to the right height|The teeth of the key push them up], and [the cylinder can turn|then the lock turns].",
    ),
    (
        "[Why do birds migrate?|Why do some birds fly south?]",
        "[In winter there is little food in the north.|Cold months bring few insects and seeds.] [Many birds fly to warmer lands and come back in spring|So they travel to places with more food]. [They find the way by the sun, the stars and the magnetic field|Young birds often follow the old ones].",
    ),
    (
        "[What is glass made of?|How is glass made?]",
        "[Glass is made of sand, soda and lime.|Sand is melted with soda and lime.] [At great heat it flows like honey|In the furnace it becomes liquid], and [it is blown or poured into shape|when it cools, it is hard and clear].",
    ),
    (
        "[What is a library?|How does a library work?]",
        "[A library lends books.|It is a place with many books to borrow.] [You take a book home and bring it back after some weeks|With a card you may borrow for a few weeks]. [Most have films, games and quiet rooms as well|Reading there is free].",
    ),
    (
        "[Why do we brush our teeth?|How long should I brush my teeth?]",
        "[Small bacteria in the mouth turn sugar into acid.|Acid from bacteria harms the teeth.] [Brush for two minutes in the morning and in the evening|Two minutes twice a day are enough]. [Then the teeth stay healthy|It keeps them clean and strong].",
    ),
    (
        "[What is a volcano?|How does a volcano arise?]",
        "[Deep in the earth it is so hot that rock melts.|A volcano is an opening in the crust of the earth.] [The melted rock rises and breaks out|Hot rock, gas and ash come out of it]. [Layer upon layer, a mountain grows|The lava cools and becomes stone].",
    ),
    (
        "[How do vaccines work?|What does a vaccine do?]",
        "[A vaccine shows the body a harmless part of a germ.|It trains the defence of the body.] [The body learns to fight it|So the body makes the right antibodies], and [when the real germ comes, it is ready|later it can react quickly].",
    ),
    (
        "[What is gravity?|Why do things fall down?]",
        "[All things attract each other.|Gravity is the pull between things that have mass.] [The earth is so large that it pulls everything towards its middle|Because the earth is huge, we notice its pull most]. [That is why a dropped ball falls|Without it we would float].",
    ),
    (
        "[How does a refrigerator work?|Why is it cold in a fridge?]",
        "[A liquid runs through tubes in the fridge and evaporates.|A pump moves a liquid around in tubes.] [It takes up heat from inside|When it turns to gas inside, it takes heat away], and [gives it off at the back|the back of the fridge gets warm].",
    ),
    (
        "[What is the internet?|How does the internet work?]",
        "[The internet is a net of computers all over the world.|Millions of computers are connected with each other.] [Data travels in small packets from one to the next|Messages are cut into packets and put together at the end]. [Every computer has an address|Routers choose the way].",
    ),
    (
        "[Why is exercise healthy?|Why should I move every day?]",
        "[Moving makes the heart and the muscles stronger.|The body is made for moving.] [It also helps with sleep and mood|People who move sleep better]. [Half an hour of walking a day is a good start|Start slowly and choose something that you like].",
    ),
    (
        "[How do fish breathe?|Why can fish live under water?]",
        "[Fish have gills.|They breathe with gills instead of lungs.] [Water flows over the gills|The gills take oxygen out of the water], and [the blood carries the oxygen through the body|it goes into the blood].",
    ),
    (
        "[What is a budget?|How do I make a budget?]",
        "[A budget is a plan for your money.|It shows what comes in and what goes out.] [Write down your income and all costs of a month|List rent, food and other costs]. [What is left can be saved|Then you see where you can save].",
    ),
    (
        "[What is a compass?|How does a compass find north?]",
        "[A compass has a needle that is a small magnet.|Its needle is magnetic and can turn freely.] [The earth is a large magnet too|It follows the magnetic field of the earth], so [the needle points north|one end always shows north].",
    ),
    (
        "[Why do we have two ears?|How do we hear where a sound comes from?]",
        "[A sound from the left reaches the left ear first.|With two ears we can tell the direction of a sound.] [The brain notices the tiny difference|The difference is small, but the brain can use it].",
    ),
    (
        "[What is cache memory?|What is a cache?]",
        "[A cache keeps copies of data that are needed often.|It is a small and fast store close to where data is used.] [Reading from it is faster than from the source|So the slow source is asked less often]. [When the source changes, the copy must be renewed|Old entries are thrown out when it is full].",
    ),
    (
        "[How does yeast work?|Why does dough rise?]",
        "[Yeast is a tiny fungus that eats sugar.|Living yeast feeds on sugar in the flour.] [It gives off gas|While it eats, it makes gas], and [the bubbles lift the dough|the dough becomes light]. [It likes it warm|In the cold it works slowly].",
    ),
    (
        "[What is a rainbow?|How does a rainbow arise?]",
        "[Sunlight falls into drops of rain.|A rainbow needs sun and rain at once.] [Each drop bends the light and splits it into its colours|The drops split the white light]. [You see it with the sun behind you|Red is outside and violet inside].",
    ),
    (
        "[Why do we count in tens?|Where does the number ten come from?]",
        "[We have ten fingers.|People learnt to count on their ten fingers.] [So most numbers are written in tens, hundreds and thousands|That is why ten digits are enough]. [Computers use only two digits, zero and one|Hours and minutes still follow an older system].",
    ),
)
