"""The hash of every published split. Never change a line here: give a split with other tasks another name."""

PUBLISHED = {
    "cheetah-vel": {
        "pearl": "85e2253241ca0d6b726cfc7a9b91f0000f8aab9d5dcf96737fee0a1a34813e00",
        "mier-medium": "f08cdd212b977f770bf863e0a31ac0bafba6e755976b9d794fe7f457dc05cee3",
        "mier-hard": "4dc63a347da426b8b66f8d0e5302d3b06dfb413003cc272f7bfb3d708018688e",
        "ldm": "ea7c2428525b76e08f2596f18b6ec8ed562f1f92b258bbd8f18678d81580c134",
        "tavt": "efb66cf185341911fad738f63f058eec8605099c0b14e900bbb80f4b9f3d42f8",
        "tavt-extra": "6e1966c3c5d6995631917abc6dbf4367c327883f691492bc8605c284d2fe8192",
        "tavt-extra-hard": "4b4d863ca93ccad759861a34e075a955b4e9c68c810b586b93179dad09cc94f8",
        "mier-sensitivity": "6932dcb35dc0c60aae05338dcd9e00cf299f57b48256d1731dd6c316d57f3d68",
    },
    "cheetah-dir": {
        "pearl": "8de3c6f427154f338bed2d70210801bb31d82c9b50295fb953be31dede5fee30",
        "apb-ood": "62e601af921d90394514bd28705b2f9fc9bed4db917c8edd2f184f06be9a0f95",
    },
    "ant-dir": {
        "pearl": "1a0bdceb108721fdeb55c4b14b64bfcb19ba2fcf5f1e5e3c4b1847ac8a35c181",
        "mier-ood": "d7a501df92a41b36b0277e167d2d245196ab39823a02421f9f2239300d9db11b",
        "ldm": "6dcc280d38a15a9e0095d4a4a0e6e489121abfbf80abb87225228bcee9f706c6",
        "tavt-2": "cd17f4a5e8998dded99f8014b0fef658dcacc1b9aab37502b593793f84364e55",
        "tavt-4": "d522dda7e920f03298cd8f222692cc66287a6136a6e704abaa76dfee4d16f053",
    },
    "ant-goal": {
        "pearl": "ab43cbdab219e57e3dc3ede9ec309a09dddc33bd0501dd2099ebba0f063c648d",
        "ldm": "34bb00cb98c519721c99656561e2afdbdac8b7de7c2ce59c5658b549fd34f9a1",
        "tavt": "e7760e3369d0f1272d504786e2e7ccd4379b7bde105c0071efa036d285e1101a",
        "tavt-extra": "dddb565f82862d15171bea3849fe62e8e0588bb565ceb5af868ee50058199699",
        "tavt-extra-hard": "c8f94b17165c150a1ec0d5398c89c93e9e830ae3c83daa3a7ed5e6dfacc4b069",
    },
    "humanoid-dir": {
        "pearl": "e182af614675c906fe2afae725588d196e86cdb21cb012bf11a3b7614a2d7f33",
        "apb-ood": "55c563bc03ba52813b139b9326ac9aa8d92598eb3f245277665db042faeba113",
    },
    "hopper-rand-params": {
        "pearl": "3f0f5ff7123edfc7132997cbe7a2749137ca4c06c522cf1681ad23be9a8ecb61",
        "apb-ood": "fdae56466d765992940796984386ac8c59992bb3e592ca296ad43cd25dcbbb59",
    },
    "walker-rand-params": {
        "pearl": "00db6eab015faf92a7dd9c2eafe7cc0af4b5ea3a647f9dc1af847a884b681958",
        "mier-ood": "89d17725e620fa153753e2b399ca0e7aed8fc5002d3bcd0ce25f52c14de472ff",
    },
    "cheetah-negated-joints": {
        "mier": "0f77fbed841d3c3befca6c19cfb25a90203d7e42591c4655fc2ca58010982e43",
    },
    "cheetah-permuted-joints": {
        "swaps": "2552e326b52b9bcdcd3fce91963d48c88994fb60394286fcc0d85b696c44d25d",
    },
    "ant-negated-joints": {
        "mier": "350340e277c6c246dd1e64d6de3c1deb504dd3b0047cdced2783650f5c63fc33",
    },
    "hopper-mass": {
        "tavt": "341686e1713249ddb7260b91f0481262b9c55fceaa487bc6ff2e9b7ac4afaf14",
        "tavt-alt": "a8466b43bbbbb6c385a0f2763a655c2ea2f7f45fa02f9f2c119701513d23e70d",
    },
    "walker-mass": {
        "tavt": "89a560050243f930383d110267c3c92c60ebfcb3cf8e6117f6631f18703eda81",
        "tavt-alt": "9e560c98026953a5f0a6e6591ef8de42e777ee912b6ad20a6dd5b3c67b13cb19",
    },
    "sparse-cheetah-vel": {
        "pearl": "06104a7e38db2f21c3c01ee1ffc4d808d26a77a7dd66cde59924450fcab22300",
        "mier-medium": "2905dc40cee1bbc51309a9ba42c7e4b517683767aa2bc923759a559f38079ff8",
        "mier-hard": "b7948e34f63ae39c20556370602c71b3d2f1b76121068e9c2c2d1a193f51fc8b",
        "ldm": "e008f3165d5d63917f09d9123b8ffab8860fb0d958bc5fca8d20e58c0453fd4f",
        "tavt": "6f875a631fed70bd2a3353a5e392554d772f56b5bcf26f1b358fe733f25a1224",
        "tavt-extra": "971ff4b4f18d6d68457bd4352193e1481b4a9926ffd7c3e8d3fc789ead0d4a6e",
        "tavt-extra-hard": "5f5b63fb6714c8fa2aa1f57ee0d8e0972557c8877756378f6aef4b3437530601",
        "mier-sensitivity": "4879cf0051d92b3379049da4972d64b9c54dd7c54a1a8e607216ad4043c51766",
    },
    "sparse-ant-goal": {
        "pearl": "d253a426791b31483b6d3f85b2497f1de2fbd5d283ca13c8ed17a72786885aec",
        "ldm": "9f14514c8aa261b46fd6cc549dc9016ab79512b68266c64079822c49942f2006",
        "tavt": "acd7d43cdce655daca39ebb678ec903ca9fc3a9f4ce4a7f394da581a1d485bf1",
        "tavt-extra": "343604130e2fbfb809d2ff51374c5f54cbab1780e1074eb36dd6df67f1fb0143",
        "tavt-extra-hard": "5ba3f067cd279fff2604f30f0f10564d0cd44156370668529f5fabc4d4b026ee",
    },
    "cheetah-vel-permuted-state": {
        "theorem": "a085721acd96661d15b2e7e025f395c10405fdf29e1ca05f45895ce839d0831b",
    },
    "cheetah-dir-permuted-state": {
        "theorem": "078199114933e2ce6057cacd2d7375cd01a0cc84c8932e611a6174ab598686f6",
    },
    "ant-dir-permuted-state": {
        "theorem": "2301218715f80fb09cca40246b682423618bd0dfca99b39c362b8ee3cd9f82fb",
    },
    "ant-goal-permuted-state": {
        "theorem": "556d67db79c3565e2ed5b62c7e4d26255dbf79a11e8468876fbc28f6044c3aef",
    },
    "humanoid-dir-permuted-state": {
        "theorem": "f5fdc258c36907092124568956bc3e25080a8486c6f0628f5cba3ed12ab16758",
    },
    "hopper-rand-params-permuted-state": {
        "theorem": "f18d4cbf1fcd0c0b1a2f16fafbdab820426ea43bc83c6c75d8d030ff2376d586",
    },
    "walker-rand-params-permuted-state": {
        "theorem": "a370050010f0db09f08e1f36a6e3c611dbd2fd9f001347ead601fd201c5c0516",
    },
    "cheetah-negated-joints-permuted-state": {
        "theorem": "0697fc5b315a8bc9c9b8c622a1ca55454695be530e2495726f8db48f0975b604",
    },
    "cheetah-permuted-joints-permuted-state": {
        "theorem": "7fb130d65fcf4d1c9e596c32e6a5b829c076b471f69c7ef3340e00b6b648528a",
    },
    "ant-negated-joints-permuted-state": {
        "theorem": "e558826b3386a90bbf88796442ad320cef79b8c18782b2dc9fd6e2c719d2cd7e",
    },
    "hopper-mass-permuted-state": {
        "theorem": "fe3e09363a36aec5a677717f489182d6bbc1695712d3fd17f91ff19ebf780995",
    },
    "walker-mass-permuted-state": {
        "theorem": "80e17874492c8f73ed48811547c5ea8090cb54764a6458a36b5fc615563d3163",
    },
    "sparse-cheetah-vel-permuted-state": {
        "theorem": "716caa0ca16ee2c736eeaa8a1ac7d935c509c19f46574f1e396bcf0ef345525d",
    },
    "sparse-ant-goal-permuted-state": {
        "theorem": "39b16f8f6296a6e061b648c937b081467547459df1c4e6bcb06fa419cb430a58",
    },
}

HASHES = {f"{family}/{name}": value for family, own in PUBLISHED.items() for name, value in own.items()}
